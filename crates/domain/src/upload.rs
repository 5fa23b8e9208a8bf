//! Files that people upload, and what a stranger's name for one becomes.
//!
//! A name is shown, put into headers and used below folders on other people's machines, so it is made harmless once,
//! when the file comes in. The bytes are kept elsewhere, under the id.

use serde::{Deserialize, Serialize};

use crate::unseen::is_unseen;
use crate::{Rejection, Timestamp, UploadId, UserId, limits};

/// Bytes of a file's name.
pub const NAME_BYTES: usize = 200;
/// An ending that is kept when a long name is cut, in bytes.
const ENDING_BYTES: usize = 20;
/// What a file is called whose name says nothing.
const NAMELESS: &str = "file";
/// What a file is when nobody says, or says something that a browser might run.
pub const BYTES: &str = "application/octet-stream";
/// What a file may be said to be.
const KINDS: [&str; 16] = [
    BYTES,
    "application/gzip",
    "application/json",
    "application/pdf",
    "application/x-tar",
    "application/zip",
    "audio/mpeg",
    "audio/wav",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/csv",
    "text/markdown",
    "text/plain",
    "video/mp4",
];
/// Names that Windows takes for devices, whatever ending they have.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// A file that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Which one; its bytes are kept under this.
    pub id: UploadId,
    /// Whose it is.
    pub owner: UserId,
    /// A harmless name; within one job no two files have the same.
    pub name: String,
    /// How long it is, in bytes.
    pub size_bytes: u64,
    /// One of a short list; never what a browser would run.
    pub content_type: String,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// When it came in.
    #[serde(with = "micros")]
    pub created_at: Timestamp,
}

/// A file whose bytes are kept already.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// The id that they are kept under.
    pub id: UploadId,
    /// What the stranger calls it.
    pub name: String,
    /// How long it is, in bytes.
    pub size_bytes: u64,
    /// What the stranger says it is.
    pub content_type: Option<String>,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl NewUpload {
    /// The file as it is kept.
    pub(crate) fn kept(&self, owner: UserId, now: Timestamp) -> Upload {
        Upload {
            id: self.id,
            owner,
            name: safe_name(&self.name),
            size_bytes: self.size_bytes,
            content_type: content_type(self.content_type.as_deref()).to_owned(),
            sha256: self.sha256,
            created_at: now,
        }
    }
}

/// What a stranger's name for a file becomes: the last part of a path, without what is not seen or steers what is,
/// nothing that a file system takes for something else, at most [`NAME_BYTES`] long.
pub fn safe_name(said: &str) -> String {
    let last = said.rsplit(['/', '\\']).next().unwrap_or_default();
    let harmless = |c: char| if matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*') { '_' } else { c };
    let seen: String = last.chars().filter(|c| !is_unseen(*c)).map(harmless).collect();
    // Windows drops dots and blanks at the end, so that one name would be another.
    let name = seen.trim_start().trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    let name = fitting(if name.is_empty() { NAMELESS } else { name }, "");
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let numbered = |device| {
        stem.strip_prefix(device).is_some_and(|rest: &str| {
            rest.chars().count() == 1 && rest.chars().all(|c| matches!(c, '0'..='9' | '¹' | '²' | '³'))
        })
    };
    let reserved = DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt");
    // What begins with a dash would be an option of many programs.
    if reserved || name.starts_with('-') { fitting(&format!("_{name}"), "") } else { name }
}

/// The name with something put before its ending, cut so that it is not too long.
fn fitting(name: &str, added: &str) -> String {
    let dot = name.rfind('.').filter(|at| *at > 0 && name.len() - at <= ENDING_BYTES);
    let (stem, ending) = name.split_at(dot.unwrap_or(name.len()));
    let room = NAME_BYTES - added.len() - ending.len();
    let cut = stem[..stem.floor_char_boundary(room)].trim_end();
    // Without an ending it ends where it was cut, which must not be at a dot.
    let cut = if ending.is_empty() { cut.trim_end_matches(|c: char| c == '.' || c.is_whitespace()) } else { cut };
    let cut = if cut.is_empty() && ending.is_empty() { NAMELESS } else { cut };
    format!("{cut}{added}{ending}")
}

/// What a file is served as.
pub fn content_type(said: Option<&str>) -> &'static str {
    let said = said.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(said)).unwrap_or(BYTES)
}

/// Refuses a list that names too many files, or one twice.
pub fn check_list(field: &'static str, ids: &[UploadId]) -> Result<(), Rejection> {
    if ids.len() > limits::FILES {
        return Err(Rejection::invalid(field, format!("must be at most {} files", limits::FILES)));
    }
    if ids.iter().enumerate().any(|(at, id)| ids[..at].contains(id)) {
        return Err(Rejection::invalid(field, "must not name a file twice"));
    }
    Ok(())
}

/// What is said of a file that the caller may not name, whether there is one or not.
pub fn no_such_file(field: &'static str) -> Rejection {
    Rejection::invalid(field, "must be ids of files that you uploaded with POST /api/uploads")
}

/// The files of these ids in their order, if they are the owner's; no two of them have one name.
pub fn named(field: &'static str, ids: &[UploadId], owner: UserId, found: &[Upload]) -> Result<Vec<Upload>, Rejection> {
    let mut files: Vec<Upload> = Vec::with_capacity(ids.len());
    for id in ids {
        let file =
            found.iter().find(|file| file.id == *id && file.owner == owner).ok_or_else(|| no_such_file(field))?;
        let is_taken = |name: &str| files.iter().any(|other| other.name.to_lowercase() == name.to_lowercase());
        let mut numbers = 2..;
        let mut name = file.name.clone();
        while is_taken(&name) {
            let number = numbers.next().expect("there are more numbers than files");
            name = fitting(&file.name, &format!(" ({number})"));
        }
        files.push(Upload { name, ..file.clone() });
    }
    Ok(files)
}

/// Times as they stand beside the other columns, in microseconds.
mod micros {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Timestamp;

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.micros())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::{collection, sample};

    use super::*;
    use crate::Ids;

    #[test]
    fn a_strangers_name_for_a_file_becomes_a_harmless_one() {
        for (said, becomes) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("/etc/shadow", "shadow"),
            ("C:\\Windows\\system.ini", "system.ini"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            ("a/", "file"),
            ("a\0b.txt", "ab.txt"),
            ("a\r\nSet-Cookie: x=1", "aSet-Cookie_ x=1"),
            ("cod\u{202e}gpj.exe", "codgpj.exe"),
            ("\u{200b}\u{2066}", "file"),
            ("a\u{2028}b", "ab"),
            ("CON", "_CON"),
            ("con.txt", "_con.txt"),
            ("Lpt1.tar.gz", "_Lpt1.tar.gz"),
            ("COM².txt", "_COM².txt"),
            ("console.txt", "console.txt"),
            ("a.txt. . ", "a.txt"),
            ("-rf", "_-rf"),
            ("a\"b<c>d|e?f*.txt", "a_b_c_d_e_f_.txt"),
            (".bashrc", ".bashrc"),
            ("Übersicht 日本.txt", "Übersicht 日本.txt"),
        ] {
            assert_eq!(safe_name(said), becomes, "{said:?}");
            assert_eq!(safe_name(becomes), becomes, "a harmless name stays");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters_and_keep_their_ending() {
        for said in [format!("{}.txt", "x".repeat(300)), format!("{}.txt", "日".repeat(100)), "é".repeat(300)] {
            let name = safe_name(&said);
            assert!(name.len() <= NAME_BYTES && name.len() > NAME_BYTES - 4, "{}", name.len());
            assert_eq!(name.ends_with(".txt"), said.ends_with(".txt"));
        }
        assert!(safe_name(&format!("a.{}", "x".repeat(300))).len() <= NAME_BYTES, "no ending is that long");
        assert!(safe_name(&format!("CON.{}", "x".repeat(300))).len() <= NAME_BYTES);
    }

    #[test]
    fn what_is_left_when_a_name_is_cut_is_harmless_too() {
        assert_eq!(safe_name(&format!("con{}x", " ".repeat(250))), "_con");
        assert_eq!(safe_name(&format!("{}{}", "x".repeat(150), ".".repeat(100) + &"y".repeat(30))), "x".repeat(150));
    }

    proptest! {
        #[test]
        fn a_harmless_name_stays_as_it_is(said in any_name()) {
            let name = safe_name(&said);
            prop_assert!((1..=NAME_BYTES).contains(&name.len()));
            prop_assert_eq!(&safe_name(&name), &name);
            let beside = fitting(&name, " (2)");
            prop_assert_eq!(safe_name(&beside), beside);
        }
    }

    fn any_name() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[a-z .\\-/:]{0,8}".prop_map(|part| part),
            "\\PC{0,20}|.{0,5}".prop_map(|part| part),
            ("[ .xé日]", 150_usize..260).prop_map(|(part, times)| part.repeat(times)),
            sample::select(vec!["con", "NUL", "lpt1", "com²", "..", "-", ".txt"]).prop_map(str::to_owned),
        ];
        collection::vec(part, 0..5).prop_map(|parts| parts.concat())
    }

    #[test]
    fn only_kinds_that_no_browser_runs_are_kept() {
        for (said, kept) in [
            (Some("text/plain; charset=utf-8"), "text/plain"),
            (Some("IMAGE/PNG"), "image/png"),
            (Some("text/html"), BYTES),
            (Some("image/svg+xml"), BYTES),
            (Some("application/javascript"), BYTES),
            (Some("text/plain\r\nX: y"), BYTES),
            (None, BYTES),
        ] {
            assert_eq!(content_type(said), kept, "{said:?}");
        }
    }

    #[test]
    fn files_of_one_job_have_different_names_and_their_owner_names_them() {
        let now = Timestamp::from_micros(0);
        let mut ids = Ids::new(1, now);
        let (owner, other) = (ids.user(), ids.user());
        let long = "y".repeat(NAME_BYTES);
        let mut file = |name: &str| {
            let new = NewUpload {
                id: ids.upload(),
                name: name.to_owned(),
                size_bytes: 1,
                content_type: None,
                sha256: [0; 32],
            };
            new.kept(owner, now)
        };
        let found = ["a.txt", "A.TXT", "a (2).txt", "a.txt", &long, &long].map(&mut file);
        let wanted: Vec<UploadId> = found.iter().map(|file| file.id).collect();
        let named = |owner| super::named("attachments", &wanted, owner, &found);
        let names: Vec<String> = named(owner).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names[..4], ["a.txt", "A (2).TXT", "a (2) (2).txt", "a (3).txt"]);
        assert!(names[5].ends_with(" (2)") && names[5].len() == NAME_BYTES, "{}", names[5]);
        assert_eq!(named(other), Err(no_such_file("attachments")));
        let unknown = super::named("attachments", &[wanted[0]], owner, &[]);
        assert_eq!(unknown, named(other), "what is another's is as what is not there");
        assert!(check_list("attachments", &[wanted[0], wanted[0]]).is_err());
        assert!(check_list("attachments", &[wanted[0]; 1]).is_ok());
    }
}
