//! The command line as it is read on a screen: what is typed, what is answered, and the exit code when it is not 0.
//!
//! What differs between runs is written so that it does not: an id becomes its kind and a number in the order of
//! their making, so that a wrong one still shows. Which ids there are is known from `--json` answers, not guessed.

/// Compares a text with the snapshot of the test it stands in.
macro_rules! assert_told {
    ($text:expr) => {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/snapshots");
        insta::with_settings!({ filters => FORMS, snapshot_path => folder, omit_expression => true }, {
            insta::assert_snapshot!($text);
        });
    };
}

mod backup;
mod output;
mod wallet;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::exchange::{Exchange, Server, User};

/// An exchange, the people at it, and what they typed and read.
struct Transcript {
    exchange: Exchange,
    server: Server,
    people: BTreeMap<&'static str, User>,
    text: String,
    /// The ids that were learned, by kind, in the order of their making.
    known: Vec<(&'static str, String)>,
}

/// What a command wrote, and the code it ended with.
struct Seen {
    stdout: String,
    stderr: String,
    code: i32,
}

/// What stands for what differs between runs and has a form of its own; as wide as it, where a column may follow.
const FORMS: [(&str, &str); 12] = [
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} UTC", "YYYY-MM-DD HH:MM UTC"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} UTC", "YYYY-MM-DD HH:MM:SS UTC"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", "YYYY-MM-DDTHH:MM:SS.mmmZ"),
    (r"(?m)^[0-9]{2}:[0-9]{2}:[0-9]{2}  ", "HH:MM:SS  "),
    (r"replaced-[0-9]{8}T[0-9]{6}", "replaced-YYYYMMDDTHHMMSS"),
    (r"[0-9]+\.[0-9] kB", "SOME kB"),
    // On a busy machine a moment is longer.
    (r"\b[0-9]{2} s ago|\b[0-9] s ago ?", "just now"),
    (r"ends in [0-9]+ (s|min|h)( [0-9]+ (s|min))?", "ends in SOME TIME"),
    (r"\b[0-9a-f]{24}\b", "REQUEST"),
    // What has no name is the id of a grant or of a user without a part in the story.
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    // A key begins with its id.
    (r"clawrk_KEY([0-9]+)[0-9A-Za-z]{49}\b", "clawrk_KEY${1}..."),
    (r"clawrk_[0-9A-Za-z]{61}\b", "clawrk_..."),
];

impl Transcript {
    /// A new exchange with these people, who have so many cents each. Whoever is not among them has no key, and
    /// the operator has no server in the environment either.
    fn of(people: &[(&'static str, i64)]) -> Self {
        let exchange = Exchange::sqlite();
        let server = exchange.serve();
        let people = people.iter().map(|(name, cents)| (*name, exchange.user(name, *cents))).collect();
        let mut story = Self { exchange, server, people, text: String::new(), known: Vec::new() };
        story.learn();
        story
    }

    /// Plays lines such as `ada $ show JOB1`, one after the other; `'` quotes, and `JOB1` is the first job made.
    fn play(&mut self, script: &str) {
        for (who, typed) in lines(script) {
            let seen = self.run(who, typed);
            self.text.push_str(&format!("{who} $ clawrk {typed}\n{}", seen.stdout));
            seen.stderr.lines().for_each(|line| self.text.push_str(&format!("[stderr] {line}\n")));
            if seen.code != 0 {
                self.text.push_str(&format!("[exit {}]\n", seen.code));
            }
            self.text.push('\n');
        }
    }

    /// Runs a command line without writing it down.
    fn run(&mut self, who: &str, typed: &str) -> Seen {
        let output = self.command(who, typed).output().unwrap();
        let code = output.status.code().expect("no signal ends a command");
        // A job that could not be paid was made, too.
        let made = ["run ", "agents create ", "keys create "].iter().any(|maker| typed.starts_with(maker));
        if made && [0, 4].contains(&code) {
            self.learn();
        }
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Seen { stdout, stderr, code }
    }

    fn command(&self, who: &str, typed: &str) -> Command {
        let named = self.named().into_iter().fold(typed.to_owned(), |line, (name, id)| line.replace(&name, &id));
        let words = words(&named);
        match self.people.get(who) {
            Some(user) => self.server.command(&self.exchange, user, &words),
            None if who == "operator" => self.exchange.command(words),
            None => self.server.command(&self.exchange, &User { key: String::new() }, &words),
        }
    }

    /// The known ids by name, the highest number first, so that no name is the beginning of one that follows.
    fn named(&self) -> Vec<(String, String)> {
        let mut counts = BTreeMap::new();
        let named = self.known.iter().map(|(kind, id)| {
            let count = counts.entry(kind).and_modify(|count| *count += 1).or_insert(1);
            (format!("{kind}{count}"), id.clone())
        });
        let mut named: Vec<_> = named.collect();
        named.reverse();
        named
    }

    /// Learns which ids there are now.
    fn learn(&mut self) {
        let lists = [("JOB", "jobs"), ("AGENT", "agents list"), ("KEY", "keys list")];
        for who in self.people.keys() {
            let answer = |line| self.server.json(&self.exchange, &self.people[who], &words(line));
            let mut found = vec![("USER", answer("whoami")["user"]["id"].clone())];
            for (kind, line) in lists {
                found.extend(answer(line).as_array().unwrap().iter().map(|one| (kind, one["id"].clone())));
            }
            let found = found.into_iter().map(|(kind, id)| (kind, id.as_str().unwrap().to_owned()));
            let fresh: Vec<_> = found.filter(|one| !self.known.contains(one)).collect();
            self.known.extend(fresh);
        }
    }

    /// Puts a file where commands run.
    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.command("operator", "").get_current_dir().unwrap().join(name), text).unwrap();
    }

    /// The story, the same in every run.
    fn told(self) -> String {
        let text = self.text.replace(&self.server.url, "http://SERVER");
        let text = text.replace(self.exchange.data().to_str().unwrap(), "DATA");
        let text = self.named().into_iter().fold(text, |text, (name, id)| {
            // Where a column follows, it stays in its place.
            text.replace(&format!("{id}  "), &format!("{name:<0$}  ", id.len())).replace(&id, &name)
        });
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// Who types what, line by line.
fn lines(script: &str) -> impl Iterator<Item = (&str, &str)> {
    script.lines().map(|line| line.trim().split_once(" $ ").unwrap())
}

/// The words of a command line; what stands between two `'` is one word.
fn words(line: &str) -> Vec<&str> {
    let pieces = line.split('\'').enumerate();
    pieces.flat_map(|(n, piece)| if n % 2 == 1 { vec![piece] } else { piece.split_whitespace().collect() }).collect()
}

#[test]
fn a_job_is_posted_worked_reviewed_and_paid() {
    let mut story = Transcript::of(&[("ada", 2000), ("bob", 0)]);
    story.play(
        "ada $ whoami
        ada $ balance
        ada $ jobs
        ada $ board
        ada $ run 'Count the vowels in the word exchange'
        ada $ run 'Count the vowels in the word exchange' --estimate
        ada $ run 'Count the vowels in the word exchange' -y
        bob $ board
        bob $ show JOB1
        bob $ pull
        bob $ accept
        bob $ status
        bob $ submit -t 'There are 3 vowels.'
        ada $ jobs
        ada $ show JOB1
        ada $ wait JOB1 --timeout 0
        ada $ review JOB1 --pass --reason 'Well counted'
        ada $ wait JOB1
        ada $ jobs -s verified
        ada $ jobs -s failed
        ada $ balance
        ada $ balance --limit 1
        bob $ status
        bob $ balance
        bob $ show JOB1
        operator $ admin audit",
    );
    assert_told!(story.told());
}

#[test]
fn agents_are_made_chosen_put_to_work_and_deleted() {
    let mut story = Transcript::of(&[("ada", 2000), ("bob", 0)]);
    story.file("poem.txt", "Rain\nand rain\nand rain\nagain\n");
    story.play(
        "bob $ agents
        bob $ agents create poet --personality 'Writes poems and rhymes'
        bob $ agents create clerk --personality 'Sums up invoices' --avatar-url https://example.com/clerk.png
        bob $ agents create poet
        bob $ agents update clerk --name bookkeeper --personality 'Adds up invoices'
        bob $ agents update clerk --name scribe
        bob $ agents update bookkeeper
        bob $ agents update bookkeeper --avatar-url ''
        bob $ use painter
        bob $ use poet
        bob $ agents list
        bob $ agents show default
        bob $ whoami
        bob $ pull
        ada $ run 'Write a poem about rain' --title Rain --description 'A poem' --requirements Rhymes --criterion \
            'It has four lines' --env TOKEN=secret --price 1000 --time-limit 3600 -y
        bob $ pull --agent bookkeeper
        bob $ accept
        bob $ submit -f nowhere.txt
        bob $ submit -f poem.txt
        bob $ status
        ada $ show JOB1
        bob $ agents delete poet
        bob $ agents delete poet -y
        bob $ agents delete default -y
        bob $ agents list",
    );
    assert_told!(story.told());
}

#[test]
fn keys_are_made_used_and_revoked() {
    let mut story = Transcript::of(&[("ada", 2000)]);
    story.play("ada $ keys");
    let made = story.run("ada", "keys create ci --scope read --expires-in 36h --json");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    story.people.insert("ci", User { key: made["key"].as_str().unwrap().to_owned() });
    story.learn();
    story.play(
        "ada $ keys list
        ci $ balance
        ci $ run 'Count to ten' -y
        ada $ keys revoke KEY2
        ci $ balance
        ada $ keys list
        ada $ keys revoke nokey
        ada $ keys create ci --scope everything
        ada $ keys create ci --expires-in 30
        ada $ keys create root --scope admin",
    );
    story.people.remove("ci");
    story.play("ada $ keys create cron --scope read --scope work --expires-in 12h");
    assert_told!(story.told());
}

#[test]
fn what_goes_wrong_is_said_with_what_to_do() {
    let mut story = Transcript::of(&[("ada", 2000)]);
    story.play(
        "stranger $ jobs
        ada $ jbos
        ada $ jobs --newest
        ada $ jobs -s lost
        ada $ jobs --limit 0
        ada $ show abcdefghijkl
        ada $ show ..
        ada $ jobs --server http://127.0.0.1:1
        ada $ jobs --server 127.0.0.1:1
        ada $ run '  ' -y
        ada $ run -f nowhere.txt -y
        ada $ run 'Count to ten' --price 99 -y
        ada $ run 'Count to ten' --price 100001 -y
        ada $ run 'Count to ten' --price free -y
        ada $ run 'Count to ten' --time-limit 59 -y
        ada $ run 'Count to ten' --env TOKEN -y
        ada $ run 'Count to ten' --criterion 'There are ten' --no-criteria -y
        ada $ agents create default
        ada $ agents create ''
        ada $ agents delete default -y
        ada $ agents show painter",
    );
    for (who, key) in [("wrong", "clawrk_wrong"), ("odd", "no key at all")] {
        story.people.insert(who, User { key: key.to_owned() });
        story.play(&format!("{who} $ jobs"));
    }
    assert_told!(story.told());
}

#[test]
fn actions_out_of_turn_are_refused() {
    let mut story = Transcript::of(&[("ada", 2000), ("bob", 0)]);
    story.play(
        "bob $ pull
        bob $ accept
        bob $ reject
        bob $ submit -t done
        bob $ submit -t ''
        bob $ submit
        bob $ agents create second
        ada $ run 'Count to ten' --price 500 -y
        ada $ run 'Count to twenty' --price 500 -y
        ada $ review JOB1 --pass
        ada $ review JOB1 --fail
        ada $ review JOB1
        ada $ pay JOB1
        bob $ cancel JOB1 -y
        bob $ accept JOB1
        bob $ claim JOB1
        bob $ claim JOB2
        ada $ claim JOB1
        bob $ claim JOB2 --agent second
        bob $ accept
        bob $ accept JOB1
        bob $ accept
        bob $ submit -t done
        bob $ submit JOB1 -t done
        bob $ submit -t done
        bob $ review JOB1 --pass
        ada $ review JOB1 --pass --attempt 2
        ada $ review JOB1 --pass
        ada $ review JOB1 --fail --reason 'Not what I asked for'
        ada $ cancel JOB1 -y",
    );
    assert_told!(story.told());
}

#[test]
fn a_job_that_cannot_be_paid_is_kept_until_it_can() {
    let mut story = Transcript::of(&[("cy", 100)]);
    story.play(
        "cy $ run 'Count to ten' --price 500 -y
        cy $ jobs
        cy $ show JOB1
        cy $ pay JOB1
        operator $ admin user grant cyril 400
        operator $ admin user grant cy 0
        operator $ admin user grant cy 400
        cy $ pay JOB1
        cy $ pay JOB1
        cy $ run 'Count to twenty' --price 500 -y
        cy $ cancel JOB2 -y
        cy $ balance",
    );
    assert_told!(story.told());
}

#[test]
fn jobs_are_handed_back_given_up_and_cancelled() {
    let mut story = Transcript::of(&[("ada", 5000), ("bob", 0)]);
    story.play(
        "ada $ run 'Count to ten' --price 500 -y
        bob $ pull
        bob $ reject
        bob $ pull
        bob $ claim JOB1
        bob $ accept
        bob $ fail --reason 'I can only count to nine'
        bob $ status
        ada $ jobs
        bob $ claim JOB1
        bob $ accept
        ada $ cancel JOB1
        ada $ cancel JOB1 -y
        ada $ show JOB1
        bob $ submit -t '1 2 3'
        ada $ review JOB1 --fail --reason 'That is three'
        ada $ wait JOB1
        ada $ watch JOB1
        ada $ cancel JOB1 -y
        bob $ claim JOB1
        ada $ run 'Count to twenty' --price 500 -y
        ada $ cancel JOB2 -y
        ada $ balance",
    );
    assert_told!(story.told());
}

#[test]
fn the_board_is_searched_and_sorted() {
    let mut story = Transcript::of(&[("ada", 2000)]);
    story.play(
        "ada $ run 'Sort the numbers 3, 1 and 2' --price 300 -y
        ada $ run 'Translate a letter into English' --price 500 -y
        stranger $ board --query 'sorting number'
        stranger $ board -q letters --min-price 500
        stranger $ board --sort price --limit 1
        stranger $ board --sort oldest --json
        stranger $ board -q nothing
        stranger $ board --sort relevance
        stranger $ board --watch --sort price",
    );
    assert_told!(story.told());
}

#[test]
fn whoever_runs_an_exchange_looks_at_it() {
    let mut story = Transcript::of(&[("ada", 2000)]);
    story.file("wrong.toml", "listne = \"127.0.0.1:0\"\n");
    story.play(
        "ada $ doctor
        stranger $ doctor
        ada $ doctor --server http://127.0.0.1:1
        operator $ admin user create --name cy --grant-cents 100
        operator $ admin user create --name ''
        operator $ admin user create --name dee --grant-cents -1
        operator $ admin audit
        operator $ admin audit --data-dir elsewhere
        operator $ config --data-dir elsewhere
        operator $ config --listen-on 127.0.0.1:0
        operator $ config --config wrong.toml
        operator $ config --config nowhere.toml
        operator $ completions cobol",
    );
    assert!(story.run("operator", "completions bash").stdout.contains("complete -F _clawrk"));
    assert_told!(story.told());
}
