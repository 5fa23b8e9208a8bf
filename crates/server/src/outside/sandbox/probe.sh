# Tries what a command must not be able to do. Prints "open NAME" where it could, "held NAME" where it could not, and
# "untried NAME" where a process that the trial needs did not start, which shows neither.
# Given: SECRET, a file of the server that everybody may read; PORT, on which the server listens; NS_*, its namespaces;
# in a container, which has an /etc/passwd and an environment of its own, PASSWD: the number of the server's.
try() {
    name=$1
    shift
    if said=$( ("$@") 2>&1 >/dev/null); then word=open; else word=held; fi
    case $said in *fork*) word=untried ;; esac
    echo "$word $name"
}
same_namespace() { [ "$(readlink "/proc/self/ns/$1")" = "$2" ]; }
connect() { if command -v bash; then bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT"; else nc -w 1 127.0.0.1 "$PORT" </dev/null; fi; }
read_passwd() { if [ -n "$PASSWD" ]; then [ "$(stat -L -c %d:%i /etc/passwd)" = "$PASSWD" ]; else cat /etc/passwd; fi; }
read_environment() { if [ -n "$PASSWD" ]; then cat /proc/[0-9]*/environ | tr '\0' '\n' | grep '^CLAWRK_'; else has_bytes /proc/1/environ; fi; }
other_networks() { [ "$(grep -c : /proc/net/dev)" -gt 1 ]; }
has_bytes() { [ "$(head -c 1 "$1" | wc -c)" -gt 0 ]; }
may_write() { : >>"$1"; }
has_rights() { grep -Eq '^Cap(Inh|Prm|Eff|Bnd|Amb):.*[1-9a-f]' /proc/self/status; }
is_unfiltered() { ! grep -Eq '^Seccomp:[[:space:]]2' /proc/self/status; }
may_gain_rights() { ! grep -Eq '^NoNewPrivs:[[:space:]]1' /proc/self/status; }
is_root() { [ "$(id -u)" = 0 ]; }
fill() { head -c 41943040 /dev/zero >"$1/a" && head -c 41943040 /dev/zero >"$1/b"; }
fill_shared() { head -c 25165824 /dev/zero >/dev/shm/a; }
# What the trials are made of: without it they would all seem to hold.
has_programs() { for program in bash cat grep head id readlink rm setsid sleep stat tail tr unshare wc yes; do [ "$program" = bash ] && command -v nc && continue; command -v "$program" || return 1; done; }
cannot_work() { ! { has_programs && echo 1 >/box/work && echo 1 >/tmp/work && [ "$(cat /box/work)" = 1 ] && [ -r /submission/output.txt ]; }; }
extra_files() { for file in /proc/self/fd/*; do case ${file##*/} in 0 | 1 | 2) ;; *) [ -e "$file" ] && [ "$(readlink "$file")" != /dev/null ] && return 0 ;; esac; done; return 1; }
unlimited() { [ "$(ulimit -c)" != 0 ] || [ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -gt 256 ]; }

try "read a file of the server" cat "$SECRET"
try "read /etc/passwd" read_passwd
try "read the server's environment" read_environment
try "read the kernel's command line" has_bytes /proc/cmdline
try "see the server's processes" same_namespace pid "$NS_PID"
try "use the server's network" same_namespace net "$NS_NET"
try "use the server's shared memory" same_namespace ipc "$NS_IPC"
try "use the server's mounts" same_namespace mnt "$NS_MNT"
try "use the server's users" same_namespace user "$NS_USER"
try "use the server's host name" same_namespace uts "$NS_UTS"
try "connect to the server" connect
try "see a network" other_networks
try "make a namespace" unshare --user true
try "be root" is_root
try "have rights" has_rights
try "gain rights by a program" may_gain_rights
try "call all of the kernel" is_unfiltered
try "keep a file of the server open" extra_files
try "write a core, open many files" unlimited
try "write /usr" may_write /usr/clawrk-probe
try "write /etc" may_write /etc/clawrk-probe
try "write /" may_write /clawrk-probe
try "write /proc" may_write /proc/sys/kernel/core_pattern
try "write the submission" may_write /submission/output.txt
try "fill /tmp" fill /tmp
rm -f /tmp/a /tmp/b
try "fill the working folder" fill .
rm -f ./a ./b
try "fill shared memory" fill_shared
rm -f /dev/shm/a
try "be left without a place to work" cannot_work
