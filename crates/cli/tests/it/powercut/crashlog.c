/* Loaded before a program (LD_PRELOAD), writes down all that the program does to the files of one folder.
 *
 * CRASHLOG_FOLDER is the folder, by its real path; CRASHLOG_FILE is the log, outside of it. Several processes may
 * share a log. Each call is carried out and written down under one lock, within the process (a mutex) and between
 * processes (flock on the log), so the order of the log is the order in which things happened, and a call that
 * has returned is in the log. What failed changed nothing and is left out.
 *
 * A record is a header of 32 bytes, then names (relative to the folder; two of a rename, a NUL byte between them),
 * then the bytes that were written. The kinds:
 *
 *   c  a file was created      number, name          s  a file or a folder was synced     number
 *   d  a folder was created    number, name          u  a name was removed                name
 *   w  bytes were written      number, at, bytes     r  a name was changed                name, name
 *   t  a length was set        number, at            m  it was mapped to be written to    number
 *
 * Files and folders go by their inode's number, which may be used again once the file is gone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "the calls with and without 64 in their names are taken for the same");

struct header {
    char kind;
    char unused[3];
    uint32_t names;
    uint64_t number, at, size;
};

#define DESCRIPTORS 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static int log_file = -1;
/* The inode's number behind a descriptor, or 0 when it is nothing of the folder's. */
static _Atomic uint64_t numbers[DESCRIPTORS];

/* The call that would have been made without this library. */
#define REAL(name) ((__typeof__(&name))real(#name))

static void fail(const char *what) {
    dprintf(2, "crashlog: %s: %s\n", what, strerror(errno));
    abort();
}

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) fail(name);
    return found;
}

__attribute__((constructor)) static void start(void) {
    const char *watched = getenv("CRASHLOG_FOLDER"), *path = getenv("CRASHLOG_FILE");
    if (!watched || !path) return;
    folder_length = strlen(watched);
    if (folder_length >= sizeof folder) fail("CRASHLOG_FOLDER");
    memcpy(folder, watched, folder_length + 1);
    log_file = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_file < 0) fail(path);
}

static void begin(void);

/* Whoever holds the lock when the process ends is never cut off between a call and its record: nobody does then. */
__attribute__((destructor)) static void stop(void) {
    if (log_file >= 0) begin();
}

static void begin(void) {
    pthread_mutex_lock(&lock);
    while (flock(log_file, LOCK_EX) != 0)
        if (errno != EINTR) fail("flock");
}

/* Ends what was begun; what the call itself said about errors stands. */
static void end(void) {
    int said = errno;
    flock(log_file, LOCK_UN);
    pthread_mutex_unlock(&lock);
    errno = said;
}

static void note(char kind, uint64_t number, uint64_t at, const char *names, size_t names_length,
                 const void *bytes, size_t size) {
    int said = errno;
    struct header header = {kind, {0}, (uint32_t)names_length, number, at, size};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)names, names_length}, {(void *)bytes, size}};
    ssize_t whole = (ssize_t)(sizeof header + names_length + size);
    if (REAL(writev)(log_file, parts, 3) != whole) fail("the log cannot be written");
    errno = said;
}

static uint64_t number_of(int fd) {
    struct stat found;
    if (fstat(fd, &found) != 0) fail("fstat");
    return found.st_ino;
}

static uint64_t watched(int fd) {
    return fd >= 0 && fd < DESCRIPTORS ? numbers[fd] : 0;
}

/* Puts the path's name relative to the folder into `name`, if it is in the folder or is the folder itself. */
static int inside(int at, const char *path, char name[PATH_MAX]) {
    char given[2 * PATH_MAX], parent[PATH_MAX];
    if (log_file < 0 || !path || !*path) return 0;
    if (path[0] == '/' || at == AT_FDCWD) {
        if (snprintf(given, sizeof given, "%s", path) >= PATH_MAX) return 0;
    } else if (snprintf(given, sizeof given, "/proc/self/fd/%d/%s", at, path) >= PATH_MAX) {
        return 0;
    }
    size_t length = strlen(given);
    while (length > 1 && given[length - 1] == '/') given[--length] = 0;
    if (realpath(given, parent) && strcmp(parent, folder) == 0) {
        name[0] = 0;
        return 1;
    }
    char *slash = strrchr(given, '/');
    const char *last = slash ? slash + 1 : given;
    if (slash == given) return 0;
    if (slash) *slash = 0;
    if (!realpath(slash ? given : ".", parent)) return 0;
    if (strncmp(parent, folder, folder_length) != 0 || (parent[folder_length] && parent[folder_length] != '/')) return 0;
    const char *rest = parent[folder_length] ? parent + folder_length + 1 : "";
    return snprintf(name, PATH_MAX, "%s%s%s", rest, *rest ? "/" : "", last) < PATH_MAX;
}

/* Files and folders come into being, are opened and closed. */

static int opened(int at, const char *path, int flags, mode_t mode) {
    char name[PATH_MAX];
    int said = errno;
    if (!inside(at, path, name)) {
        errno = said;
        return REAL(openat)(at, path, flags, mode);
    }
    begin();
    int existed = faccessat(at, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    errno = said;
    int fd = REAL(openat)(at, path, flags, mode);
    if (fd >= DESCRIPTORS) fail("too many descriptors");
    if (fd >= 0) {
        numbers[fd] = number_of(fd);
        if (!existed) note('c', numbers[fd], 0, name, strlen(name), NULL, 0);
        else if (flags & O_TRUNC) note('t', numbers[fd], 0, NULL, 0, NULL, 0);
    }
    end();
    return fd;
}

static mode_t mode_in(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                  \
    int name(const char *path, int flags, ...) {    \
        va_list rest;                               \
        va_start(rest, flags);                      \
        mode_t mode = mode_in(flags, rest);         \
        va_end(rest);                               \
        return opened(AT_FDCWD, path, flags, mode); \
    }
#define OPENAT(name)                                     \
    int name(int at, const char *path, int flags, ...) { \
        va_list rest;                                    \
        va_start(rest, flags);                           \
        mode_t mode = mode_in(flags, rest);              \
        va_end(rest);                                    \
        return opened(at, path, flags, mode);            \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    if (watched(fd)) numbers[fd] = 0;
    return REAL(close)(fd);
}

int mkdir(const char *path, mode_t mode) {
    char name[PATH_MAX];
    int said = errno;
    if (!inside(AT_FDCWD, path, name)) {
        errno = said;
        return REAL(mkdir)(path, mode);
    }
    begin();
    errno = said;
    int result = REAL(mkdir)(path, mode);
    struct stat made;
    if (result == 0 && stat(path, &made) != 0) fail("stat");
    if (result == 0) note('d', made.st_ino, 0, name, strlen(name), NULL, 0);
    end();
    return result;
}

/* Bytes and lengths. */

static void note_written(uint64_t number, off_t at, const struct iovec *parts, int count, ssize_t written) {
    for (int part = 0; part < count && written > 0; part++) {
        size_t size = parts[part].iov_len < (size_t)written ? parts[part].iov_len : (size_t)written;
        note('w', number, (uint64_t)at, NULL, 0, parts[part].iov_base, size);
        at += (off_t)size;
        written -= (ssize_t)size;
    }
}

/* Writes at the descriptor's own place. */
static ssize_t written_here(int fd, const struct iovec *parts, int count) {
    begin();
    off_t at = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t written = REAL(writev)(fd, parts, count);
    note_written(watched(fd), at, parts, count, written);
    end();
    return written;
}

static ssize_t written_at(int fd, const struct iovec *parts, int count, off_t at) {
    begin();
    ssize_t written = REAL(pwritev)(fd, parts, count, at);
    note_written(watched(fd), at, parts, count, written);
    end();
    return written;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    struct iovec whole = {(void *)bytes, size};
    return watched(fd) ? written_here(fd, &whole, 1) : REAL(write)(fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    return watched(fd) ? written_here(fd, parts, count) : REAL(writev)(fd, parts, count);
}

#define PWRITE(name)                                                                              \
    ssize_t name(int fd, const void *bytes, size_t size, off_t at) {                              \
        struct iovec whole = {(void *)bytes, size};                                               \
        return watched(fd) ? written_at(fd, &whole, 1, at) : REAL(name)(fd, bytes, size, at);     \
    }
#define PWRITEV(name)                                                                             \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t at) {                        \
        return watched(fd) ? written_at(fd, parts, count, at) : REAL(name)(fd, parts, count, at); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define FTRUNCATE(name)                                                                        \
    int name(int fd, off_t length) {                                                           \
        if (!watched(fd)) return REAL(name)(fd, length);                                       \
        begin();                                                                               \
        int result = REAL(name)(fd, length);                                                   \
        if (result == 0) note('t', watched(fd), (uint64_t)length, NULL, 0, NULL, 0);           \
        end();                                                                                 \
        return result;                                                                         \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define MMAP(name)                                                                             \
    void *name(void *where, size_t length, int protection, int flags, int fd, off_t at) {      \
        void *result = REAL(name)(where, length, protection, flags, fd, at);                   \
        if (watched(fd) && (protection & PROT_WRITE) && (flags & MAP_SHARED)) {                \
            begin();                                                                           \
            note('m', watched(fd), 0, NULL, 0, NULL, 0);                                       \
            end();                                                                             \
        }                                                                                      \
        return result;                                                                         \
    }
MMAP(mmap)
MMAP(mmap64)

/* Syncs. fdatasync syncs a length that has changed too, which is all that a log of lengths and bytes could tell. */

#define SYNC(name)                                                            \
    int name(int fd) {                                                        \
        if (!watched(fd)) return REAL(name)(fd);                              \
        begin();                                                              \
        int result = REAL(name)(fd);                                          \
        if (result == 0) note('s', watched(fd), 0, NULL, 0, NULL, 0);         \
        end();                                                                \
        return result;                                                        \
    }
SYNC(fsync)
SYNC(fdatasync)

/* Names. */

static int removed(int at, const char *path, int flags) {
    char name[PATH_MAX];
    int said = errno;
    if (!inside(at, path, name)) {
        errno = said;
        return REAL(unlinkat)(at, path, flags);
    }
    begin();
    errno = said;
    int result = REAL(unlinkat)(at, path, flags);
    if (result == 0) note('u', 0, 0, name, strlen(name), NULL, 0);
    end();
    return result;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int at, const char *path, int flags) { return removed(at, path, flags); }

int rename(const char *from, const char *to) {
    char names[2 * PATH_MAX], target[PATH_MAX];
    int said = errno;
    int leaves = inside(AT_FDCWD, from, names), arrives = inside(AT_FDCWD, to, target);
    if (!leaves && !arrives) {
        errno = said;
        return REAL(rename)(from, to);
    }
    if (leaves != arrives) fail("a name moved into or out of the folder, which this log cannot tell");
    size_t length = strlen(names) + 1;
    memcpy(names + length, target, strlen(target) + 1);
    begin();
    errno = said;
    int result = REAL(rename)(from, to);
    if (result == 0) note('r', 0, 0, names, length + strlen(target), NULL, 0);
    end();
    return result;
}
