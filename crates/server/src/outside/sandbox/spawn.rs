//! The thread that starts commands, and sees those off that nobody waits for.
//!
//! `--die-with-parent` means the parent *thread*: a command started on a thread that ends when it idles would be killed
//! at a random moment. So one thread starts all of them, and lives as long as the sandbox.

use std::io;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::group::Group;

/// How often it is looked whether those that were killed are gone.
const LOOK: Duration = Duration::from_millis(10);

/// What has not ended after this is killed from outside.
const PATIENCE: Duration = Duration::from_secs(1);

/// A group that cannot be removed after this is left.
const GIVE_UP: Duration = Duration::from_secs(30);

/// A thread that starts commands; it ends, and its commands with it, when this is dropped.
#[derive(Debug)]
pub(super) struct Spawner {
    orders: Sender<Order>,
}

enum Order {
    Start { command: Command, runtime: Handle, answer: oneshot::Sender<io::Result<Child>> },
    SeeOff(Leaving),
}

/// What was killed, and is not gone yet.
struct Leaving {
    child: Option<Child>,
    group: Option<Group>,
    since: Instant,
}

impl Spawner {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (orders, waiting) = mpsc::channel();
        std::thread::Builder::new().name("clawrk-sandbox".to_owned()).spawn(move || serve(&waiting))?;
        Ok(Self { orders })
    }

    /// Starts a command; dropped, it is killed.
    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts commands has ended");
        self.orders.send(Order::Start { command, runtime: Handle::current(), answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Waits elsewhere until a command is gone, and removes its group.
    pub(super) fn see_off(&self, child: Option<Child>, group: Option<Group>) {
        drop(self.orders.send(Order::SeeOff(Leaving { child, group, since: Instant::now() })));
    }
}

fn serve(orders: &Receiver<Order>) {
    let mut leaving: Vec<Leaving> = Vec::new();
    loop {
        let order = match leaving.is_empty() {
            true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => orders.recv_timeout(LOOK),
        };
        match order {
            Ok(Order::Start { command, runtime, answer }) => {
                let _inside = runtime.enter();
                // Nobody there to take it: dropped, it is killed.
                drop(answer.send(tokio::process::Command::from(command).kill_on_drop(true).spawn()));
            }
            Ok(Order::SeeOff(one)) => leaving.push(one),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        leaving.retain_mut(|one| !one.is_gone());
    }
}

impl Leaving {
    fn is_gone(&mut self) -> bool {
        let waited = self.since.elapsed();
        if let Some(child) = &mut self.child {
            if matches!(child.try_wait(), Ok(None)) {
                if waited > PATIENCE {
                    drop(child.start_kill());
                }
                return waited > GIVE_UP;
            }
            self.child = None;
        }
        self.group.as_ref().is_none_or(|group| group.remove().is_ok()) || waited > GIVE_UP
    }
}
