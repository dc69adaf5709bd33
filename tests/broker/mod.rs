//! A real Apache Kafka for tests: one node, or two, on loopback, each in a folder of its own.
//!
//! `fetch` beside this file copies the program from Maven's repository once. Where it answers
//! without passwords is [`Broker::address`]; what else it listens on, a test says by [`Layout`].
// Each test uses a part of it, and a helper of tests may fail.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
pub(crate) mod security;

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(crate) use client::{Got, Message};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What every broker of tests has: small, soon believed to be dead once it is, so that it may come back,
/// and soon the leader again of what it is to lead.
const PROPERTIES: &str = "\
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=3
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=4194304
log.initial.task.delay.ms=1000
num.network.threads=2
num.io.threads=2
background.threads=2
controlled.shutdown.enable=false
broker.heartbeat.interval.ms=250
broker.session.timeout.ms=3000
leader.imbalance.check.interval.seconds=1
leader.imbalance.per.broker.percentage=0
";

/// What a broker has beside what every broker of tests has.
#[derive(Default)]
pub(crate) struct Layout {
    /// Further listeners: a name and its protocol, such as `SASL_SSL`.
    pub(crate) listeners: Vec<(&'static str, &'static str)>,
    /// Further lines of `server.properties`.
    pub(crate) properties: String,
    /// Users of SCRAM as the formatting of the storage takes them:
    /// `SCRAM-SHA-256=[name=alice,password=secret]`.
    pub(crate) scram: Vec<String>,
}

/// A broker; it ends with this.
pub(crate) struct Broker {
    folder: tempfile::TempDir,
    libraries: PathBuf,
    /// Its number in its cluster.
    node: i32,
    port: u16,
    /// Where the first node of the cluster, which controls it, listens to the others.
    controller: u16,
    further: Vec<(&'static str, u16)>,
    process: Option<Child>,
}

impl Broker {
    /// Starts one that asks for no passwords, and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::with(&Layout::default()).await
    }

    /// Starts one, and waits until it answers.
    pub(crate) async fn with(layout: &Layout) -> Self {
        Self::node(1, free_port(), layout).await
    }

    /// Starts a second node of its cluster, and waits until both answer.
    pub(crate) async fn joined(&self) -> Self {
        let second = Self::node(2, self.controller, &Layout::default()).await;
        let begun = Instant::now();
        while client::brokers(second.address()).await < 2 {
            assert!(begun.elapsed() < PATIENCE, "the brokers do not find each other: {}", second.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        second
    }

    async fn node(node: i32, controller: u16, layout: &Layout) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let further: Vec<_> = layout.listeners.iter().map(|(name, _)| (*name, free_port())).collect();
        let mut broker =
            Self { folder, libraries: libraries(), node, port, controller, further, process: None };
        std::fs::write(broker.properties_path(), broker.properties(layout)).unwrap();
        broker.format(&layout.scram);
        broker.restart().await;
        broker
    }

    /// Where clients reach it without a password.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where clients reach a listener of the [`Layout`], by its name.
    pub(crate) fn address_of(&self, listener: &str) -> String {
        let (_, port) = self.further.iter().find(|(name, _)| *name == listener).expect("no such listener");
        format!("localhost:{port}")
    }

    /// Starts it again, with the same data on the same ports, and waits until it answers; ends it
    /// before if it runs.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.java("256m");
        command.arg("kafka.Kafka").arg(self.properties_path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().expect("cannot start `java`"));
        let begun = Instant::now();
        while client::brokers(self.address()).await == 0 {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the broker ended with {ended:?}: {}", self.log());
            assert!(begun.elapsed() < PATIENCE, "the broker does not answer: {}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let id = process.id().to_string();
        assert!(Command::new("kill").arg("-TERM").arg(id).status().unwrap().success());
        process.wait().unwrap();
    }

    /// Replaces a text in its configuration, which counts once it is started again.
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let properties = std::fs::read_to_string(self.properties_path()).unwrap();
        assert!(properties.contains(from), "{properties}");
        std::fs::write(self.properties_path(), properties.replace(from, to)).unwrap();
    }

    /// Ends it as a loss of power would.
    pub(crate) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Changes who may do what with all topics and groups, as Kafka's own tool for that takes it.
    pub(crate) async fn rights(&self, arguments: &[&str]) {
        let mut command = self.java("128m");
        command.arg("kafka.admin.AclCommand").args(["--bootstrap-server", &self.address()]);
        command.args(["--topic", "*", "--group", "*"]).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "cannot change rights: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The number of its process, for what measures it.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The folder of what it keeps, for files that the test gives to clients.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn properties(&self, layout: &Layout) -> String {
        let Self { node, controller, .. } = self;
        let (roles, control) = match node {
            1 => ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}")),
            _ => ("broker", String::new()),
        };
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{}", self.port);
        let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        for ((name, protocol), (_, port)) in layout.listeners.iter().zip(&self.further) {
            write!(listeners, ",{name}://localhost:{port}").unwrap();
            write!(protocols, ",{name}:{protocol}").unwrap();
        }
        let data = self.folder.path().join("data");
        format!(
            "{PROPERTIES}process.roles={roles}\nnode.id={node}\nlog.dirs={}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners={listeners}{control}\n\
             advertised.listeners={listeners}\n\
             listener.security.protocol.map={protocols}\n{}",
            data.display(),
            layout.properties
        )
    }

    /// Makes its folder of data.
    fn format(&self, scram: &[String]) {
        let mut command = self.java("128m");
        command.args(["kafka.tools.StorageTool", "format", "-t", "bWFzdGhlYWRfdGVzdHNfMQ", "-c"]);
        command.arg(self.properties_path());
        for user in scram {
            command.args(["--add-scram", user]);
        }
        let output = command.output().expect("cannot start `java`");
        assert!(output.status.success(), "cannot format: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Java as small and as soon up as it can be.
    fn java(&self, heap: &str) -> Command {
        let mut command = Command::new("java");
        command.arg(format!("-Xmx{heap}")).args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        command.arg("-cp").arg(self.libraries.join("*"));
        command
    }

    fn properties_path(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Broker {
    /// A test that fails leaves nothing behind.
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of Kafka's libraries; fetched if nobody has before.
fn libraries() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let fetch = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broker/fetch");
        let output = Command::new(script).output().expect("cannot run `tests/broker/fetch`");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    };
    FOLDER.get_or_init(fetch).clone()
}

/// A port that was free a moment ago, and that the system gives to nobody of itself: a client that
/// tries a port of those again and again while nobody listens may come to talk to itself.
fn free_port() -> u16 {
    std::iter::repeat_with(|| fastrand::u16(20_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}
