//! Says in the words of an audit event what a log entry of Google Cloud says about a request.
//!
//! Bodies and annotations stay the bytes they are. What an entry does not say is left out: groups
//! and uid of the user, who was impersonated, what the client asked behind `?` of the path (so
//! no command of an `exec`), addresses of proxies. Bodies that are not there are hidden rather than
//! absent: the level says so. Of the status only a gRPC code is known, unless there is a
//! `Status` among the bodies; it becomes the HTTP code that the API server answers with then.

use detect::json::{Json, Kind};

use super::parts::Parts;
use super::refusal::Reason;
use super::request::{Object, Request};

/// Subresources by which a connection is opened.
const CONNECTIONS: [&str; 3] = ["exec", "attach", "portforward"];

/// Appends the event that an entry is about. `parts` are those of the whole log entry.
///
/// # Errors
/// Fails if the entry does not say what was requested.
pub(super) fn write(entry: Json<'_>, parts: &Parts<'_>, event: &mut Vec<u8>) -> Result<(), Reason> {
    let text = |name| entry.str_at(name).unwrap_or_default();
    let (method, resource_name) = (text("methodName"), text("resourceName"));
    let request = Request::of(&method, &resource_name).ok_or(Reason::NoMethod)?;
    let bodies = Bodies::of(entry);
    let operation = |name: &str| parts.get("operation").and_then(|operation| operation.get(name));
    let mut out = Writer::new(event);
    out.text("kind", "Event");
    out.text("apiVersion", "audit.k8s.io/v1");
    out.text("level", bodies.level());
    out.json("auditID", operation("id").or_else(|| parts.get("insertId")));
    let is_first = is_true(operation("first")) && !is_true(operation("last"));
    out.text("stage", if is_first { "ResponseStarted" } else { "ResponseComplete" });
    out.some_text("requestURI", request.path.as_deref());
    out.text("verb", request.verb);
    out.object("user", |user| user.json("username", entry.at(&["authenticationInfo", "principalEmail"])));
    out.list("sourceIPs", entry.at(&["requestMetadata", "callerIp"]));
    out.json("userAgent", entry.at(&["requestMetadata", "callerSuppliedUserAgent"]));
    if let Some(object) = &request.object {
        out.object("objectRef", |reference| write_reference(reference, object));
    }
    if let Some(status) = entry.get("status").filter(|status| status.kind() == Kind::Object) {
        out.object("responseStatus", |out| write_status(out, status, &request, &bodies));
    }
    out.json("requestObject", bodies.request);
    out.json("responseObject", bodies.response);
    out.json("requestReceivedTimestamp", parts.get("timestamp"));
    out.json("stageTimestamp", parts.get("timestamp"));
    write_annotations(&mut out, entry, parts);
    out.finish();
    Ok(())
}

/// What was sent and what was answered.
struct Bodies<'a> {
    request: Option<Json<'a>>,
    response: Option<Json<'a>>,
}

impl<'a> Bodies<'a> {
    fn of(entry: Json<'a>) -> Self {
        let body = |name| entry.get(name).filter(|body: &Json<'_>| !body.is_null());
        Self { request: body("request"), response: body("response") }
    }

    /// The level at which what is not here would not be, so that nobody takes it for absent.
    fn level(&self) -> &'static str {
        match (self.request, self.response) {
            (None, _) => "Metadata",
            (Some(_), None) => "Request",
            (Some(_), Some(_)) => "RequestResponse",
        }
    }

    /// The HTTP code, if the answer is a `Status`, which has one.
    fn status_code(&self) -> Option<u64> {
        let response = self.response?;
        let kind = response.str_at("kind").or_else(|| response.str_at("@type"))?;
        if kind != "Status" && !kind.ends_with(".Status") {
            return None;
        }
        number(response.get("code")).filter(|code| (100..600).contains(code))
    }
}

fn write_reference(out: &mut Writer<'_>, object: &Object<'_>) {
    let Object { resource, namespace, name, subresource, group, version } = object;
    out.text("resource", resource);
    out.some_text("namespace", *namespace);
    out.some_text("name", *name);
    out.some_text("apiGroup", *group);
    out.some_text("apiVersion", *version);
    out.some_text("subresource", *subresource);
}

fn write_status(out: &mut Writer<'_>, status: Json<'_>, request: &Request<'_>, bodies: &Bodies<'_>) {
    let code = number(status.get("code")).unwrap_or(0);
    let code = bodies.status_code().unwrap_or_else(|| http_code(code, request));
    out.object("metadata", |_| {});
    if code >= 400 {
        out.text("status", "Failure");
    }
    out.json("message", status.get("message").filter(|message| message.kind() == Kind::String));
    out.number("code", code);
}

/// The labels of an entry are the annotations of the event; the decision is there, or else said
/// for each permission that was asked for.
fn write_annotations(out: &mut Writer<'_>, entry: Json<'_>, parts: &Parts<'_>) {
    const DECISION: &str = "authorization.k8s.io/decision";
    let labels = parts.get("labels").filter(|labels| labels.kind() == Kind::Object);
    let is_said = labels.is_some_and(|labels| labels.get(DECISION).is_some());
    let mut granted = None;
    let permissions = entry.get("authorizationInfo").into_iter().flat_map(Json::elements);
    for permission in permissions {
        granted = Some(granted.unwrap_or(true) && is_true(permission.get("granted")));
    }
    out.object("annotations", |annotations| {
        let entries = labels.into_iter().flat_map(Json::entries);
        entries.for_each(|(name, value)| annotations.json(&name.text(), Some(value)));
        if let Some(is_granted) = granted.filter(|_| !is_said) {
            annotations.text(DECISION, if is_granted { "allow" } else { "forbid" });
        }
    });
}

/// The HTTP code behind a gRPC code. All that went well has 0: then it is what the API server
/// answers to the verb.
fn http_code(code: u64, request: &Request<'_>) -> u64 {
    let subresource = request.object.as_ref().and_then(|object| object.subresource);
    match code {
        0 if subresource.is_some_and(|subresource| CONNECTIONS.contains(&subresource)) => 101,
        0 if request.verb == "create" && request.object.is_some() && subresource != Some("proxy") => 201,
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        http @ 100..600 => http,
        _ => 500,
    }
}

fn number(json: Option<Json<'_>>) -> Option<u64> {
    json?.text()?.parse().ok()
}

fn is_true(json: Option<Json<'_>>) -> bool {
    json.and_then(Json::text).as_deref() == Some("true")
}

/// Writes the members of an object.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Writer<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    fn finish(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, name: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        self.quoted(name);
        self.out.push(b':');
    }

    fn quoted(&mut self, text: &str) {
        // Invariant: neither text nor a vector can fail.
        let _ = serde_json::to_writer(&mut *self.out, text);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.key(name);
        self.quoted(text);
    }

    fn some_text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        self.key(name);
        self.out.extend_from_slice(number.to_string().as_bytes());
    }

    /// A value as it was written.
    fn json(&mut self, name: &str, value: Option<Json<'_>>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.key(name);
            self.out.extend_from_slice(value.bytes());
        }
    }

    /// A list of that one value.
    fn list(&mut self, name: &str, value: Option<Json<'_>>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.key(name);
            self.out.push(b'[');
            self.out.extend_from_slice(value.bytes());
            self.out.push(b']');
        }
    }

    fn object(&mut self, name: &str, write: impl FnOnce(&mut Writer<'_>)) {
        self.key(name);
        let mut object = Writer::new(self.out);
        write(&mut object);
        object.finish();
    }
}
