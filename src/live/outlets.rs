//! Where alerts go: what was configured, a worker each.

use std::io;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use chrono::Utc;
use detect::summary::counted;
use sinks::delivery::{BATCH_COUNT_MAX, Destination, Event, Figures, Notice, Pace, Replay, Replayed, Worker};
use sinks::file::{self, File};
use sinks::http::{self, Credentials, Http, Secret, Template};
#[cfg(feature = "kafka")]
use sinks::kafka::{self, Link};
use sinks::outbox::{DeadLetter, Outbox};
use sinks::stdout::{self, Stdout};
use sinks::store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Lookout;
use super::chores::blocking;
use super::notice::{self, Kind, SINK_FAILING, SINK_RECOVERED, SINK_REFUSED};
use crate::config::{self, BatchForm, Config, Format, HeaderValue, Routes, SecretSource, Sink};
#[cfg(feature = "kafka")]
use crate::config::{KafkaCompression, KafkaKey};
use crate::terminal::Terminal;

/// How many pieces of news about sinks may wait to be told.
const NOTICES_MAX: usize = 64;

/// All sinks.
pub(crate) struct Outlets {
    sinks: Vec<Outlet>,
    routes: Arc<ArcSwap<Routes>>,
    tasks: TaskTracker,
}

/// One sink.
struct Outlet {
    name: String,
    figures: Arc<Figures>,
    replays: mpsc::Sender<Replay>,
}

impl Outlets {
    /// Starts the sinks of a configuration; they work until told to stop.
    pub(crate) fn start(
        lookout: &Arc<Lookout>,
        config: &Config,
        terminal: &Terminal,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let routes = Arc::new(ArcSwap::from_pointee(config.routes.clone()));
        let (notices, heard) = mpsc::channel(NOTICES_MAX);
        let tasks = TaskTracker::new();
        let starter = Starter { lookout, routes: &routes, notices, tasks: &tasks, stop };
        let mut sinks = Vec::new();
        for (name, sink) in &config.sinks {
            let outlet = match sink {
                Sink::Stdout(settings) => {
                    starter.start(name, Stdout::new(stdout_format(settings.format, terminal)))
                }
                Sink::File(settings) => {
                    let rotation = settings.rotate.as_ref().map_or_else(file::Rotation::default, |rotate| {
                        file::Rotation {
                            bytes_max: Some(rotate.size.0),
                            period: rotate.age.as_ref().map(|age| age.0),
                            keep_count: Some(rotate.keep as usize),
                            compression: compression(rotate.compress),
                        }
                    });
                    starter.start(name, File::new(file::Options { path: settings.path.0.clone(), rotation }))
                }
                Sink::Http(settings) => {
                    starter.start(name, http(settings).with_context(|| format!("sink `{name}`"))?)
                }
                #[cfg(feature = "kafka")]
                Sink::Kafka(settings) => starter.start(name, kafka(settings)),
            };
            sinks.push(outlet);
        }
        drop(starter);
        tasks.spawn(tell(Arc::clone(lookout), heard));
        Ok(Self { sinks, routes, tasks })
    }

    /// What is known of each sink, by its name.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&str, &Figures)> {
        self.sinks.iter().map(|sink| (sink.name.as_str(), &*sink.figures))
    }

    /// Sends alerts by other routes from now on.
    pub(crate) fn route(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// Gives a sink once more what it refused for good; how many it took, and how many not. Nothing if
    /// there is no such sink.
    pub(crate) async fn replay(
        &self,
        store: &Store,
        name: &str,
    ) -> Option<Result<(usize, usize), ReplayError>> {
        let sink = self.sinks.iter().find(|sink| sink.name == name)?;
        Some(sink.replay(store).await)
    }

    /// Waits until every sink has what it can soon have.
    pub(crate) async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Why dead letters could not be sent again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the sink is stopping")]
    Stopping,
}

impl Outlet {
    async fn replay(&self, store: &Store) -> Result<(usize, usize), ReplayError> {
        let (mut after, mut taken_count, mut refused_count) = (0, 0, 0);
        loop {
            let alerts = store.take_dead(&self.name, after, BATCH_COUNT_MAX).await?;
            let Some(last) = alerts.last() else { return Ok((taken_count, refused_count)) };
            after = last.number;
            let (answer, answered) = oneshot::channel();
            self.replays.send(Replay { alerts, answer }).await.map_err(|_| ReplayError::Stopping)?;
            let replayed = answered.await.map_err(|_| ReplayError::Stopping)?;
            let (mut taken, mut refused) = (Vec::new(), Vec::new());
            for Replayed { number, refusal } in replayed {
                match refusal {
                    None => taken.push(number),
                    Some(reason) => refused.push(DeadLetter { sink: self.name.clone(), number, reason }),
                }
            }
            taken_count += taken.len();
            refused_count += refused.len();
            store.settle_dead(&self.name, taken, refused).await?;
        }
    }
}

/// What every sink is started with.
struct Starter<'s> {
    lookout: &'s Arc<Lookout>,
    routes: &'s Arc<ArcSwap<Routes>>,
    notices: mpsc::Sender<Notice>,
    tasks: &'s TaskTracker,
    stop: &'s CancellationToken,
}

impl Starter<'_> {
    fn start(&self, name: &str, destination: impl Destination + 'static) -> Outlet {
        let outbox = self.lookout.store.clone();
        let figures = Arc::new(Figures::new(outbox.latest()));
        let (replays, asked) = mpsc::channel(1);
        let (routes, sink) = (Arc::clone(self.routes), name.to_owned());
        let worker = Worker {
            outbox,
            sink: name.to_owned(),
            destination,
            // What is wrong with Masthead itself is told everywhere.
            routing: move |route: &_| notice::is_urgent(route) || routes.load().reaches(route, &sink),
            figures: Arc::clone(&figures),
            notices: self.notices.clone(),
            replays: asked,
            pace: Pace::default(),
        };
        self.tasks.spawn(worker.run(self.stop.clone()));
        Outlet { name: name.to_owned(), figures, replays }
    }
}

fn http(settings: &config::Http) -> anyhow::Result<Http> {
    let secret = |source: SecretSource| {
        Secret::read_by(move || {
            source.read().map(|secret| secret.expose().to_owned()).map_err(io::Error::other)
        })
    };
    let mut headers = Vec::new();
    for (name, value) in &settings.headers {
        let value = match value {
            HeaderValue::Literal(text) => text.clone(),
            HeaderValue::Secret(source) => source.read()?.expose().to_owned(),
        };
        headers.push((name.clone(), value));
    }
    let basic = |user: &String| Some((user.clone(), settings.password()?));
    let basic = settings.user.as_ref().and_then(basic);
    let credentials = match (settings.token(), basic) {
        (Some(token), _) => Some(Credentials::Bearer(secret(token))),
        (None, Some((user, password))) => Some(Credentials::Basic { user, password: secret(password) }),
        (None, None) => None,
    };
    let read = |path: &config::FilePath| {
        std::fs::read(&**path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let template = match (&settings.template, &settings.template_file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) => Some(String::from_utf8(read(path)?)?),
        (None, None) => None,
    };
    let count_max = |batch: &config::Batch| batch.count as usize;
    Ok(Http::new(http::Options {
        url: settings.url.as_str().to_owned(),
        credentials,
        headers,
        signing_key: settings.hmac_key().map(secret),
        ca_pem: settings.ca_file.as_ref().map(read).transpose()?,
        timeout: settings.timeout.0,
        batch: match &settings.batch {
            None => http::Batch::Single,
            Some(batch) if batch.form == BatchForm::Lines => {
                http::Batch::Lines { count_max: count_max(batch) }
            }
            Some(batch) => http::Batch::Array { count_max: count_max(batch) },
        },
        template: template.as_deref().map(Template::parse).transpose()?,
    })?)
}

#[cfg(feature = "kafka")]
fn kafka(settings: &config::KafkaSink) -> kafka::Kafka {
    let connection = settings.connection();
    let token_file = connection.token_file();
    let link = Link::new(move || connection.properties().map_err(io::Error::other));
    let link = match token_file {
        None => link,
        Some(path) => link.with_token(move || {
            let token = config::bearer_token(&path, Utc::now().timestamp()).map_err(io::Error::other)?;
            let text = token.text.expose().to_owned();
            Ok(kafka::Token { text, principal: token.principal, ends_ms: token.ends_ms })
        }),
    };
    kafka::Kafka::new(kafka::Options {
        link,
        topic: settings.topic.as_str().to_owned(),
        key: match settings.key {
            KafkaKey::Id => kafka::Key::Id,
            KafkaKey::Cluster => kafka::Key::Cluster,
            KafkaKey::Rule => kafka::Key::Rule,
            KafkaKey::Actor => kafka::Key::Actor,
        },
        compression: match settings.compression {
            KafkaCompression::None => kafka::Compression::None,
            KafkaCompression::Lz4 => kafka::Compression::Lz4,
            KafkaCompression::Zstd => kafka::Compression::Zstd,
        },
        message_bytes_max: usize::try_from(settings.message_max.0).unwrap_or(usize::MAX),
    })
}

fn compression(is_wanted: bool) -> file::Compression {
    if is_wanted { file::Compression::Gzip } else { file::Compression::None }
}

fn stdout_format(format: Format, terminal: &Terminal) -> stdout::Format {
    let stream = terminal.stdout;
    match format {
        Format::Auto if !stream.is_terminal => stdout::Format::Jsonl,
        Format::Jsonl => stdout::Format::Jsonl,
        Format::Auto | Format::Text => stdout::Format::Text { palette: stream.palette, width: stream.width },
    }
}

/// Makes alerts of what happens to sinks, for the other sinks.
async fn tell(lookout: Arc<Lookout>, mut heard: mpsc::Receiver<Notice>) {
    while let Some(Notice { sink, event }) = heard.recv().await {
        let (kind, summary) = sentence(&sink, &event);
        let new = notice::notice(kind, &sink, summary, None, Utc::now());
        blocking(&lookout, move |lookout| lookout.tell(vec![new])).await;
    }
}

fn sentence(sink: &str, event: &Event) -> (Kind, String) {
    match event {
        Event::Failing { lasting, reason } => {
            let seconds = lasting.as_secs();
            (
                SINK_FAILING,
                format!("Sink {sink} has taken nothing for {seconds} seconds; alerts wait for it: {reason}"),
            )
        }
        Event::Recovered { after } => {
            (SINK_RECOVERED, format!("Sink {sink} takes alerts again, after {} seconds", after.as_secs()))
        }
        Event::Dead { count, letter, id } => {
            let what = match count {
                1 => format!("alert {id:032x} for good"),
                count => format!("{} for good, the last is {id:032x}", counted(*count, "alert")),
            };
            (SINK_REFUSED, format!("Sink {sink} refused {what}: {}", letter.reason))
        }
        Event::Missed { count } => {
            let alerts = counted(*count, "alert");
            (SINK_REFUSED, format!("Sink {sink} misses {alerts}, deleted since the store was full"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sink_refused_is_counted_and_named() {
        let letter = DeadLetter { sink: "hook".to_owned(), number: 7, reason: "400".to_owned() };
        let told = |count| sentence("hook", &Event::Dead { count, letter: letter.clone(), id: 0xab }).1;
        let id = format!("{:032x}", 0xab);
        assert_eq!(told(1), format!("Sink hook refused alert {id} for good: 400"));
        assert_eq!(told(2), format!("Sink hook refused 2 alerts for good, the last is {id}: 400"));
        let missed = |count| sentence("hook", &Event::Missed { count }).1;
        assert_eq!(missed(1), "Sink hook misses 1 alert, deleted since the store was full");
        assert_eq!(missed(2), "Sink hook misses 2 alerts, deleted since the store was full");
    }
}
