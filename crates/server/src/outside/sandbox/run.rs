//! One command, from its start until nothing of it is left.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::bubblewrap::Start;
use super::group::Group;
use super::output::{Printed, Stream};
use super::spawn::Spawner;
use super::staging::Staging;
use super::{Confined, Ended, Errand, SandboxError, limits, watch};
use crate::random;

/// What was killed is gone after this, or something is wrong with the machine.
const GONE: Duration = Duration::from_secs(5);

/// How often it is looked whether it is gone.
const LOOK: Duration = Duration::from_millis(2);

/// A command under way; dropped, it is killed with all that it started.
struct Running {
    child: Option<Child>,
    group: Option<Group>,
    spawner: Arc<Spawner>,
    told: Vec<u8>,
}

/// What bubblewrap tells of a command, in one or more objects.
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Told {
    child_pid: Option<u32>,
    exit_code: Option<i32>,
}

impl Told {
    fn read(told: &[u8]) -> Self {
        let objects = serde_json::Deserializer::from_slice(told).into_iter::<Self>();
        objects.map_while(Result::ok).fold(Self::default(), |told, next| Self {
            child_pid: told.child_pid.or(next.child_pid),
            exit_code: told.exit_code.or(next.exit_code),
        })
    }
}

/// Runs a command in a fresh folder.
pub(super) async fn run(
    confined: &Confined,
    staging: &Staging,
    errand: Errand<'_>,
    output: impl FnMut(&str),
) -> Result<Ended, SandboxError> {
    let deadline = Instant::now() + errand.timeout;
    let name = hex::encode(random::unique());
    let group = confined.groups.as_ref().map(|groups| groups.make(&name)).transpose()?;
    let doors = group.as_ref().map(Group::doors).unwrap_or_default();
    let start = Start { staging, run: errand.run, env: &errand.env, timeout: errand.timeout, doors };
    // Made before anything can fail: dropped, it clears away.
    let mut running = Running { child: None, group, spawner: Arc::clone(&confined.spawner), told: Vec::new() };
    let (command, status) = confined.bubblewrap.command(&start)?;
    running.child = Some(confined.spawner.spawn(command).await?);
    let mut said = String::new();
    let mut printed = Printed::new(keeping(&mut said, output));
    let cut = running.follow(status, &mut printed, deadline).await?;
    printed.finish();
    drop(printed);
    let exit = running.end(cut.is_some()).await?;
    let out_of_memory = running.group.as_ref().is_some_and(Group::ran_out_of_memory);
    match (cut, exit) {
        (Some(cut), _) => Ok(cut),
        (None, _) if out_of_memory => Ok(Ended::OutOfMemory),
        (None, Some(code)) => Ok(Ended::Exit(code)),
        (None, None) => Err(SandboxError::NotStarted(said.trim().to_owned())),
    }
}

/// Tells lines on, and keeps the first of standard error: what does not start says there why. One that is too long is
/// left out whole: in a piece of it nobody would find the value of a variable.
pub(super) fn keeping(said: &mut String, mut output: impl FnMut(&str)) -> impl FnMut(Stream, &str) {
    move |stream, line| {
        if stream == Stream::Err && said.len() + line.len() <= limits::SAID {
            said.push_str(line);
            said.push('\n');
        }
        output(line);
    }
}

/// Refuses what no program can be given.
pub(super) fn check(errand: &Errand<'_>) -> Result<(), SandboxError> {
    let length = errand.run.len() + errand.env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if length > limits::ERRAND {
        return Err(SandboxError::TooLong);
    }
    if errand.run.contains('\0') {
        return Err(SandboxError::Nul);
    }
    for (name, value) in &errand.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(SandboxError::Variable(name.clone()));
        }
        if value.contains('\0') {
            return Err(SandboxError::Nul);
        }
    }
    Ok(())
}

/// Reads what a command prints, and what is told of it, until all is said or it has to be ended; why it has to.
pub(super) async fn follow<F: FnMut(Stream, &str)>(
    child: &mut Child,
    status: Option<(Receiver, &mut Vec<u8>)>,
    is_too_much: impl Fn(&[u8]) -> bool,
    printed: &mut Printed<F>,
    deadline: Instant,
) -> Result<Option<Ended>, SandboxError> {
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let mut untold = Vec::new();
    let (mut status, told) = match status {
        Some((status, told)) => (Some(status), told),
        None => (None, &mut untold),
    };
    let [mut out_bytes, mut err_bytes] = [vec![0; 16 << 10], vec![0; 16 << 10]];
    let mut status_bytes = [0; 512];
    let mut watch = interval(limits::WATCH);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while out.is_some() || err.is_some() || status.is_some() {
        tokio::select! {
            count = read(&mut out, &mut out_bytes) => {
                let count = count?;
                if count == 0 { out = None; }
                if printed.take(Stream::Out, &out_bytes[..count]).is_err() { return Ok(Some(Ended::TooMuchOutput)); }
            }
            count = read(&mut err, &mut err_bytes) => {
                let count = count?;
                if count == 0 { err = None; }
                if printed.take(Stream::Err, &err_bytes[..count]).is_err() { return Ok(Some(Ended::TooMuchOutput)); }
            }
            count = read(&mut status, &mut status_bytes) => {
                let count = count?;
                if count == 0 { status = None; }
                told.extend_from_slice(&status_bytes[..count]);
            }
            _ = watch.tick() => if is_too_much(told) { return Ok(Some(Ended::OutOfMemory)); },
            () = sleep_until(deadline) => return Ok(Some(Ended::TimedOut)),
        }
    }
    Ok(None)
}

impl Running {
    async fn follow<F: FnMut(Stream, &str)>(
        &mut self,
        status: OwnedFd,
        printed: &mut Printed<F>,
        deadline: Instant,
    ) -> Result<Option<Ended>, SandboxError> {
        let child = self.child.as_mut().expect("it was started");
        let group = &self.group;
        let is_too_much = |told: &[u8]| match group {
            Some(group) => group.ran_out_of_memory(),
            None => Told::read(told).child_pid.is_some_and(watch::is_too_much),
        };
        let status = Some((Receiver::from_owned_fd(status)?, &mut self.told));
        follow(child, status, is_too_much, printed, deadline).await
    }

    /// Waits until all of it is gone, killed or by itself; what it ended with, unless it never began.
    async fn end(&mut self, kill: bool) -> Result<Option<i32>, SandboxError> {
        if kill {
            self.kill();
        }
        let child = self.child.as_mut().expect("it was started");
        if timeout(GONE, child.wait()).await.is_err() {
            child.start_kill()?;
            child.wait().await?;
        }
        let told = Told::read(&self.told);
        if let Some(first) = told.child_pid {
            // What the command left behind dies with bubblewrap, a moment after it.
            let until = Instant::now() + GONE;
            while !is_gone(first) {
                if Instant::now() > until {
                    return Err(SandboxError::Left);
                }
                sleep(LOOK).await;
            }
        }
        self.child = None;
        Ok(told.exit_code)
    }

    /// Kills the first process inside, and with it all others: bubblewrap sees it end and goes too.
    fn kill(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
        let outer = self.child.as_ref().and_then(Child::id);
        match (outer, Told::read(&self.told).child_pid) {
            // Still its child, so the number is still its.
            (Some(outer), Some(first)) if watch::is_child_of(first, outer) => kill(first),
            (Some(outer), _) => kill(outer),
            (None, _) => {}
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        self.spawner.see_off(self.child.take(), self.group.take());
    }
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whether a first process and its namespace are gone; one that came to us is reaped.
fn is_gone(first: u32) -> bool {
    let Some(pid) = i32::try_from(first).ok().and_then(Pid::from_raw) else { return true };
    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    !watch::is_alive(first)
}

/// Reads what there is; nothing, for ever, from what has ended.
async fn read<R: AsyncRead + Unpin>(from: &mut Option<R>, bytes: &mut [u8]) -> std::io::Result<usize> {
    match from {
        Some(from) => from.read(bytes).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_it_says_no_line_is_kept_in_part() {
        let (mut said, mut told) = (String::new(), 0);
        let mut keep = keeping(&mut said, |_| told += 1);
        for line in ["why", &"x".repeat(limits::SAID), "and why"] {
            keep(Stream::Err, line);
        }
        keep(Stream::Out, "something else");
        drop(keep);
        assert_eq!((said.as_str(), told), ("why\nand why\n", 4));
    }
}
