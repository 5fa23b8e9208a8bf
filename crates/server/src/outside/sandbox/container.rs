//! How a command is run in a container of podman or docker: every flag, in one place, and its end.
//!
//! Values of the job's variables are in the environment of the engine's client and nowhere else, under names of ours: a
//! job's own name, such as `DOCKER_HOST` or `LD_PRELOAD`, would tell the client what to do. A shell in the container
//! gives them their names.
//!
//! The container is kept when its command ends, until it has been asked how: a code of 125 to 127 may be the engine's
//! word or the command's, and only the engine knows what ran out of memory. Then it is removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::engine::{Engine, Kind, LABEL};
use super::naming::{VALUE, naming};
use super::output::Printed;
use super::run::{follow, keeping};
use super::staging::Staging;
use super::{Ended, Errand, SandboxError, Unsound, limits, watch};
use crate::random;

/// A client that was killed, or has closed its output, is gone after this.
const GONE: Duration = Duration::from_secs(5);

/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(5);

/// Podman itself ends what runs so much longer than it may: a server may have been killed.
const GRACE: Duration = Duration::from_secs(30);

/// Docker gives these from the operator's own settings, and they may hold passwords.
const PROXIES: &str =
    "HTTP_PROXY HTTPS_PROXY FTP_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy ftp_proxy no_proxy all_proxy";

/// Flags of both.
const FLAGS: &str = "--network none --read-only --cap-drop ALL --security-opt no-new-privileges --pids-limit 64 --memory 512m \
                     --memory-swap 512m --cpus 1 --user 65534:65534 --ipc private --shm-size 16m --hostname sandbox --workdir \
                     /box --ulimit nofile=256:256 --ulimit nproc=1024:1024 --ulimit core=0:0 --ulimit fsize=67108864:67108864 \
                     --log-driver none --no-healthcheck --pull never --env HOME=/tmp --env TMPDIR=/tmp --env LANG=C.UTF-8";

/// What podman can do besides: nothing else to write to, nothing of the client's environment, a masked kernel.
const FLAGS_OF_PODMAN: &str = "--read-only-tmpfs=false --image-volume ignore --http-proxy=false --env-host=false --systemd false \
                               --security-opt mask=/proc/cmdline:/proc/kallsyms";

/// Where podman has its filter of system calls: the machine's own first.
const PROFILES: [&str; 2] = ["/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json"];

/// Podman's filter allows these to everybody, so that containers may be made in containers; docker's does not.
const NOT_NEEDED: &str = "clone clone3 unshare setns mount mount_setattr umount umount2 move_mount open_tree fsopen fsconfig \
                          fsmount fspick pivot_root keyctl add_key request_key ptrace process_vm_readv process_vm_writev bpf \
                          perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register";

/// A way to run commands in containers.
#[derive(Debug)]
pub(super) struct Container {
    engine: Engine,
    image: String,
    version: String,
    /// The filter of system calls, where the engine's own is not narrow enough.
    filter: Option<PathBuf>,
    /// Those that clear away what was dropped.
    leaving: Mutex<Vec<JoinHandle<()>>>,
}

/// A command under way; dropped, it is killed and its container removed.
struct Running<'a> {
    container: &'a Container,
    name: String,
    client: Option<Child>,
}

impl Container {
    /// Looks for an engine, and whether it has the image.
    pub(super) async fn find(image: &str) -> Result<Self, Unsound> {
        Self::with(Engine::find()?, image).await
    }

    /// With this engine.
    pub(super) async fn with(engine: Engine, image: &str) -> Result<Self, Unsound> {
        let version = engine.version().await?;
        engine.examine(image).await?;
        Ok(Self { engine, image: image.to_owned(), version, filter: None, leaving: Mutex::default() })
    }

    pub(super) const fn engine(&self) -> &'static str {
        self.engine.name()
    }

    pub(super) fn describe(&self) -> String {
        format!("{} {}, image {}", self.engine.name(), self.version, self.image)
    }

    /// Removes what killed servers left; an engine that cannot tell is found out by the trials.
    pub(super) async fn sweep(&self, is_alive: impl Fn(&str) -> bool) {
        drop(self.engine.sweep(is_alive).await);
    }

    /// Takes from podman's filter what a check does not need, into the server's folder. Without podman's nothing is
    /// taken, and the trials say what is open.
    pub(super) fn narrow(&mut self, home: &Path) -> io::Result<()> {
        let theirs = PROFILES.iter().find_map(|path| std::fs::read(path).ok());
        let (Kind::Podman, Some(theirs)) = (self.engine.kind, theirs) else { return Ok(()) };
        let path = home.join("seccomp.json");
        std::fs::write(&path, serde_json::to_vec(&narrowed(serde_json::from_slice(&theirs)?))?)?;
        self.filter = Some(path);
        Ok(())
    }

    /// Docker cannot hide the kernel's command line; containers of root's engine have root's users.
    pub(super) fn waived(&self) -> Vec<&'static str> {
        const USERS: &str = "use the server's users";
        match self.engine.kind {
            Kind::Docker => vec!["read the kernel's command line", USERS],
            Kind::Podman if rustix::process::geteuid().is_root() => vec![USERS],
            Kind::Podman => Vec::new(),
        }
    }

    /// Runs a command in a fresh container.
    pub(super) async fn run(
        &self,
        home: &str,
        staging: &Staging,
        errand: Errand<'_>,
        output: impl FnMut(&str),
    ) -> Result<Ended, SandboxError> {
        let deadline = Instant::now() + errand.timeout;
        let name = format!("clawrk-{}", hex::encode(random::unique()));
        let mut command = self.engine.client();
        command.args(self.arguments(home, &name, staging, &errand));
        command.envs(errand.env.values().enumerate().map(|(number, value)| (format!("{VALUE}{number}"), value)));
        let mut running = Running { container: self, name, client: Some(command.spawn()?) };
        let mut said = String::new();
        let mut printed = Printed::new(keeping(&mut said, output));
        let client = running.client.as_mut().expect("it was started");
        let cut = tokio::select! {
            cut = follow(client, None, |_| false, &mut printed, deadline) => cut?,
            () = self.engine.runs_out_of_memory(&running.name) => Some(Ended::OutOfMemory),
        };
        printed.finish();
        drop(printed);
        running.end(cut).await?.ok_or_else(|| SandboxError::NotStarted(said.trim().to_owned()))
    }

    /// All that the client is told; no value of a variable is among it.
    fn arguments(&self, home: &str, name: &str, staging: &Staging, errand: &Errand<'_>) -> Vec<String> {
        let mut words: Vec<String> = ["run", "--name", name, "--label"].map(str::to_owned).into();
        words.push(format!("{LABEL}={home}"));
        words.extend(FLAGS.split_whitespace().map(str::to_owned));
        words.extend(["--ulimit".to_owned(), format!("cpu={0}:{0}", limits::cpu_seconds(errand.timeout))]);
        let mut room = "rw,exec,size=64m,mode=1777,nosuid,nodev".to_owned();
        if self.engine.kind == Kind::Podman {
            words.extend(FLAGS_OF_PODMAN.split_whitespace().map(str::to_owned));
            words.extend(["--timeout".to_owned(), (errand.timeout + GRACE).as_secs().to_string()]);
            room.push_str(",notmpcopyup");
        } else {
            // Docker makes the working folder in the image first, as root's, and its runtime gives the mount those rights.
            room.push_str(",uid=65534,gid=65534");
        }
        if let Some(filter) = &self.filter {
            words.extend(["--security-opt".to_owned(), format!("seccomp={}", filter.display())]);
        }
        for folder in ["/tmp", "/box"] {
            words.extend(["--tmpfs".to_owned(), format!("{folder}:{room}")]);
        }
        for (source, target) in [(staging.submission(), "/submission"), (staging.attachments(), "/attachments")] {
            let source = source.display();
            words.extend(["--mount".to_owned(), format!("type=bind,source={source},target={target},readonly")]);
        }
        for number in 0..errand.env.len() {
            words.extend(["--env".to_owned(), format!("{VALUE}{number}")]);
        }
        words.extend(["--entrypoint", "/bin/sh", &self.image, "-c"].map(str::to_owned));
        words.extend([
            format!("unset {PROXIES}\n{}", naming(errand.env.keys())),
            "sh".to_owned(),
            errand.run.to_owned(),
        ]);
        words
    }

    /// Clears away, elsewhere, a command that nobody waits for.
    fn see_off(&self, name: String, client: Option<u32>) {
        let engine = self.engine.clone();
        let clear = async move {
            // It might start the container yet.
            let until = Instant::now() + GONE;
            while client.is_some_and(watch::is_alive) && Instant::now() < until {
                sleep(LOOK).await;
            }
            if !engine.clear(&name).await {
                tracing::error!(name, "a container that nobody waits for cannot be removed");
            }
        };
        let cleared = std::thread::Builder::new().name("clawrk-container".to_owned()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(clear),
                Err(error) => tracing::error!(%error, "a container that nobody waits for is left until the next start"),
            }
        });
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|thread| !thread.is_finished());
        leaving.extend(cleared);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A server that ends leaves no container.
        let leaving = std::mem::take(&mut *self.leaving.lock().unwrap_or_else(PoisonError::into_inner));
        leaving.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Running<'_> {
    /// Waits until all of it is gone, killed or by itself; how it ended, unless it never began.
    async fn end(&mut self, cut: Option<Ended>) -> Result<Option<Ended>, SandboxError> {
        let engine = &self.container.engine;
        let client = self.client.as_mut().expect("it was started");
        if cut.is_some() || timeout(GONE, client.wait()).await.is_err() {
            // The client first: it might start the container yet.
            client.start_kill()?;
            client.wait().await?;
        }
        let state = if cut.is_some() { None } else { engine.state(&self.name).await? };
        if !engine.clear(&self.name).await {
            return Err(SandboxError::Left);
        }
        self.client = None;
        let ended = state.filter(super::engine::State::has_run).map(|state| match state.is_out_of_memory {
            true => Ended::OutOfMemory,
            false => Ended::Exit(state.exit_code),
        });
        Ok(cut.or(ended))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(mut client) = self.client.take() {
            let number = client.id();
            drop(client.start_kill());
            self.container.see_off(std::mem::take(&mut self.name), number);
        }
    }
}

/// A filter without the calls that are not needed, and with `clone` for threads and processes alone.
fn narrowed(mut filter: Value) -> Value {
    /// All `CLONE_NEW*`.
    const NAMESPACES: u32 = 0x7e02_0080;
    /// A call that there is not: the C library uses `clone` then.
    const ENOSYS: i32 = 38;
    let not_needed: Vec<&str> = NOT_NEEDED.split_whitespace().collect();
    let rules = filter.get_mut("syscalls").and_then(Value::as_array_mut);
    let Some(rules) = rules else { return filter };
    for names in rules.iter_mut().filter_map(|rule| rule.get_mut("names")?.as_array_mut()) {
        names.retain(|name| name.as_str().is_some_and(|name| !not_needed.contains(&name)));
    }
    rules.retain(|rule| rule.get("names").and_then(Value::as_array).is_some_and(|names| !names.is_empty()));
    let is_no_namespace = json!({ "index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" });
    rules.push(json!({ "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [is_no_namespace] }));
    rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "args": [], "errnoRet": ENOSYS }));
    filter
}
