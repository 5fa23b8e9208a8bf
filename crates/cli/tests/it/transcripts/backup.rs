//! Backups and restores as an operator reads them, most of all where they are refused.

use super::{FORMS, Transcript};
use crate::exchange::Exchange;

#[test]
fn an_exchange_is_backed_up_and_put_back() {
    let mut story = Transcript::of(&[("ada", 2000), ("bob", 0)]);
    story.file("notes.txt", "no database");
    story.file("taken.db", "something of mine");
    std::fs::create_dir(story.exchange.folder().join("folder")).unwrap();
    story.play(
        "ada $ run 'Count to ten' --price 500 -y
        operator $ admin backup
        operator $ admin backup one.db --data-dir elsewhere
        operator $ admin backup taken.db
        operator $ admin backup folder --force
        operator $ admin backup nowhere/one.db
        operator $ admin backup exchange/data/clawrk.db --force
        operator $ admin backup exchange/data/secret_key --force
        operator $ admin backup one.db
        operator $ admin backup one.db --force
        operator $ admin restore one.db
        operator $ admin restore one.db --force
        operator $ admin restore missing.db --data-dir fresh
        operator $ admin restore folder --data-dir fresh
        operator $ admin restore notes.txt --data-dir fresh
        operator $ admin restore one.db --data-dir fresh
        operator $ admin restore one.db --data-dir fresh
        operator $ admin restore one.db --data-dir fresh --force
        operator $ admin restore fresh/clawrk.db --data-dir fresh --force
        operator $ serve --data-dir fresh
        operator $ admin audit --data-dir fresh",
    );
    let another = story.exchange.folder().join("fresh").join("secret_key");
    std::fs::write(another, "another secret, which is long enough too").unwrap();
    story.play("operator $ admin restore one.db --data-dir fresh --force");
    story.play("operator $ admin restore one.db --data-dir fresh --force --secret-key 'a third secret, which is long enough too'");
    assert!(!story.exchange.folder().join("fresh").join("clawrk.db.partial").exists());
    let taken = std::fs::read_to_string(story.exchange.folder().join("taken.db")).unwrap();
    assert_eq!(taken, "something of mine");
    assert_told!(story.told());
}

#[test]
fn a_backup_in_which_something_changed_is_not_put_back() {
    let mut story = Transcript::of(&[("ada", 2000)]);
    story.play(
        "ada $ run 'Count to ten' --price 500 -y
        operator $ admin backup one.db
        operator $ admin restore one.db --data-dir first",
    );
    let file = story.exchange.folder().join("one.db");
    let sound = std::fs::read(&file).unwrap();
    let words = b"Count to ten";
    let place = sound.windows(words.len()).position(|bytes| bytes == words).unwrap();
    let mut bent = sound.clone();
    // One bit: "Bount to ten".
    bent[place] ^= 1;
    std::fs::write(story.exchange.folder().join("bent.db"), &bent).unwrap();
    std::fs::write(story.exchange.folder().join("short.db"), &sound[..sound.len() - 100]).unwrap();
    // Neither a digest nor the word on the first page that there must be one.
    let mut earlier = sound[..sound.len() - 86].to_owned();
    earlier[68..72].fill(0);
    std::fs::write(story.exchange.folder().join("earlier.db"), &earlier).unwrap();
    story.play(
        "operator $ admin restore bent.db --data-dir second
        operator $ admin restore short.db --data-dir second
        operator $ admin restore earlier.db --data-dir second",
    );
    assert_told!(story.told());
}

#[test]
fn postgresql_has_its_own_tools_for_this() {
    let exchange = Exchange::sqlite();
    let mut told = String::new();
    for line in ["backup one.db", "restore one.db", "backup one.db --json"] {
        let words = ["admin"].into_iter().chain(line.split(' ')).chain(["--database-url", "postgres://db/x"]);
        let output = exchange.command(words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        told.push_str(&format!("$ clawrk admin {line}\n{said}[exit {}]\n\n", output.status.code().unwrap()));
    }
    assert_told!(told);
}
