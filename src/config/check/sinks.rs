//! Whether sinks can be set up.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::Path;

use sinks::http::{self, HttpError, Template};

use super::super::Config;
use super::super::mistake::{MistakeKind, Mistakes, told};
use super::super::secret::is_secret_name;
use super::super::sink::{FileSink, HeaderValue, Http, Sink};
use super::super::tree::Spot;
use super::super::units::Name;
#[cfg(feature = "kafka")]
use super::kafka;
use super::{at_most_one, least, must_be_readable, must_hold, must_last, secret, tls};

/// The most alerts in one request.
const BATCH_COUNT_MAX: u32 = 10_000;

/// Notes what is wrong with sinks.
pub(super) fn check(config: &Config, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let mut written: HashMap<&Path, &Name> = HashMap::new();
    for (name, sink) in &config.sinks {
        let spot = spot.at(name);
        match sink {
            Sink::Stdout(_) => {}
            Sink::Http(sink) => posts(sink, spot, mistakes),
            #[cfg(feature = "kafka")]
            Sink::Kafka(sink) => kafka::sink(sink, spot, mistakes),
            Sink::File(sink) => {
                file(sink, config, spot, mistakes);
                if let Some(other) = written.insert(&sink.path, name) {
                    let message = format!("sink `{other}` writes to this file already");
                    mistakes.contradict(spot.at("path").place, message, "give each sink a file of its own");
                }
            }
        }
    }
}

fn file(sink: &FileSink, config: &Config, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let place = spot.at("path").place;
    if sink.path.is_dir() {
        let message = format!("`{}` is a folder", sink.path.display());
        mistakes.contradict(place, message, "name a file");
    }
    // The folder of the state is made at the start.
    let folder = sink.path.parent().filter(|folder| !folder.starts_with(&*config.state_dir));
    if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        let message = format!("there is no folder `{}`", folder.display());
        mistakes.contradict(place, message, "make it first, for the user that Masthead runs as");
    }
    if let Some(age) = sink.rotate.as_ref().and_then(|rotate| rotate.age) {
        must_last(age, least::ROTATE_AGE, spot.at("rotate").at("age"), mistakes);
    }
    if let Some(rotate) = &sink.rotate {
        must_hold(rotate.size, least::ROTATE_SIZE, spot.at("rotate").at("size"), mistakes);
    }
    let is_file = sink.path.is_file();
    if let Some(error) = is_file.then(|| OpenOptions::new().append(true).open(&*sink.path).err()).flatten() {
        let message = format!("`{}` cannot be written: {error}", sink.path.display());
        mistakes.contradict(place, message, "let the user that Masthead runs as write it");
    }
}

fn posts(sink: &Http, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let (token, password) = (sink.token(), sink.password());
    secret(token.as_ref(), spot, ["token_file", "token_env"], mistakes);
    secret(password.as_ref(), spot, ["password_file", "password_env"], mistakes);
    secret(sink.hmac_key().as_ref(), spot, ["hmac_key_file", "hmac_key_env"], mistakes);
    if sink.user.is_some() != password.is_some() {
        let place = if sink.user.is_some() { spot.at("user").key } else { spot.key };
        let advice = "basic authentication takes `user` with `password_file` or `password_env`";
        mistakes.contradict(place, "a user without a password, or the other way round", advice);
    }
    if sink.user.is_some() && token.is_some() {
        let advice = "keep either the token or the user";
        mistakes.contradict(spot.at("user").key, "a token and a user would use the same header", advice);
    }
    if token.or(password).is_some() && !sink.url.is_encrypted() && !is_local(sink.url.as_str()) {
        mistakes.doubt(spot.at("url").place, "over `http://` the secret can be read on its way");
    }
    if let Some(path) = &sink.ca_file {
        tls::authorities(path, spot.at("ca_file"), mistakes);
    }
    must_last(sink.timeout, least::SINK_TIMEOUT, spot.at("timeout"), mistakes);
    requests(sink, spot, mistakes);
    headers(sink, spot.at("headers"), mistakes);
    body(sink, spot, mistakes);
}

fn is_local(url: &str) -> bool {
    let uri: Option<axum::http::Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn headers(sink: &Http, spot: Spot<'_>, mistakes: &mut Mistakes) {
    for (name, value) in &sink.headers {
        let own = spot.at(name);
        match value {
            HeaderValue::Secret(source) => {
                if let Err(error) = source.read() {
                    mistakes.add(own.place, MistakeKind::Secret(error));
                }
            }
            HeaderValue::Literal(_) if is_secret_name(name) => {
                let advice = format!("write `{name}: {{ file: … }}` or `{name}: {{ env: … }}`");
                mistakes.add(own.key, MistakeKind::LiteralSecret { name: name.clone(), advice });
            }
            HeaderValue::Literal(_) => {}
        }
    }
}

fn body(sink: &Http, spot: Spot<'_>, mistakes: &mut Mistakes) {
    at_most_one(spot, &["template", "template_file"], mistakes);
    let has_template = sink.template.is_some() || sink.template_file.is_some();
    if has_template && sink.batch.is_some() {
        let message = "a template makes the body of one alert, a batch has several";
        mistakes.contradict(spot.at("batch").key, message, "keep one of them");
    }
    if let Some(batch) = sink.batch.as_ref().filter(|batch| batch.count == 0 || batch.count > BATCH_COUNT_MAX)
    {
        let message = format!("a batch cannot have {} alerts", batch.count);
        mistakes.contradict(spot.at("batch").at("count").place, message, format!("1 to {BATCH_COUNT_MAX}"));
    }
    if let Some(text) = &sink.template {
        template(text, spot.at("template"), mistakes);
    }
    if let Some(path) = &sink.template_file {
        let spot = spot.at("template_file");
        match must_be_readable(path, spot, mistakes).map(String::from_utf8) {
            Some(Ok(text)) => template(&text, spot, mistakes),
            Some(Err(_)) => {
                let message = format!("`{}` is not UTF-8", path.display());
                mistakes.contradict(spot.place, message, "write it as UTF-8");
            }
            None => {}
        }
    }
}

fn template(text: &str, spot: Spot<'_>, mistakes: &mut Mistakes) {
    if let Err(error) = Template::parse(text) {
        let advice = "it must give JSON; a place is the path of a field: `\"{{ actor.name }}\"`";
        mistakes.contradict(spot.place, told(&error), advice);
    }
}

/// Sets the sink up as for a run, which sends nothing.
fn requests(sink: &Http, spot: Spot<'_>, mistakes: &mut Mistakes) {
    let headers = sink.headers.iter().filter_map(|(name, value)| match value {
        HeaderValue::Literal(text) => Some((name.clone(), text.clone())),
        HeaderValue::Secret(source) => Some((name.clone(), source.read().ok()?.expose().to_owned())),
    });
    let options = http::Options {
        url: sink.url.as_str().to_owned(),
        credentials: None,
        headers: headers.collect(),
        signing_key: None,
        ca_pem: None,
        timeout: sink.timeout.0,
        batch: http::Batch::Single,
        template: None,
    };
    let Err(error) = http::Http::new(options) else { return };
    let (place, advice) = match &error {
        HttpError::Header { name } => (spot.at("headers").at(name).key, "use characters of ASCII alone"),
        HttpError::HeaderReserved { name } => (spot.at("headers").at(name).key, "leave it out"),
        HttpError::Client(_) => (spot.key, "name who signs the server's certificate by `ca_file`"),
        _ => (spot.at("url").place, "write it as `https://siem.example/ingest`"),
    };
    mistakes.contradict(place, told(&error), advice);
}
