//! The entries of an object by which wrappers are known.
//!
//! **Invariant:** one pass over an object finds them all; of duplicate keys the last one counts.

use detect::json::{Json, Kind};

/// Where an event may stand as text or as an object, those first that hold it as it was written. In
/// this order: Fluent Bit, Fluentd and container runtimes; Vector, Filebeat, Logstash and Elastic's
/// agent; journald; Promtail; Elastic's `event.original`, Splunk's collector; Elastic's
/// `kubernetes.audit`; Azure; decoders that keep what they decoded apart; Cloud Logging; OpenTelemetry;
/// exports of Splunk, Elasticsearch, AWS and Alibaba Cloud; converters of Kafka Connect.
const DOORS: [&str; 20] = [
    "log",
    "message",
    "msg",
    "MESSAGE",
    "line",
    "original",
    "event",
    "audit",
    "kubernetes",
    "properties",
    "json",
    "jsonPayload",
    "textPayload",
    "body",
    "stringValue",
    "_raw",
    "_source",
    "@message",
    "content",
    "payload",
];

/// Where lists of records stand: a key, and more keys in each of the elements of the list before.
const LISTS: [(&str, &[&str]); 5] = [
    // Azure, in what Event Hubs carries.
    ("records", &[]),
    // CloudWatch Logs, in what a subscription delivers.
    ("logEvents", &[]),
    // Loki, in what is pushed to it.
    ("streams", &["values"]),
    // OpenTelemetry, as JSON.
    ("resourceLogs", &["scopeLogs", "logRecords"]),
    // What the webhook posts, as text.
    ("items", &[]),
];

/// What else is read of a wrapper.
const REST: [&str; 16] = [
    "@type",
    "category",
    "cluster",
    "cluster_name",
    "insertId",
    "labels",
    "logGroup",
    "logName",
    "logStream",
    "messageType",
    "operation",
    "orchestrator",
    "protoPayload",
    "resource",
    "resourceId",
    "timestamp",
];

const LISTS_START: usize = DOORS.len();
const REST_START: usize = LISTS_START + LISTS.len();
const COUNT: usize = REST_START + REST.len();

/// The entries of an object by which wrappers are known, without those that are `null`.
pub(super) struct Parts<'a>([Option<Json<'a>>; COUNT]);

impl<'a> Parts<'a> {
    /// Finds them in an object.
    pub(super) fn of(object: Json<'a>) -> Self {
        let mut parts = [None; COUNT];
        for (key, value) in object.entries() {
            let mut names = DOORS.into_iter().chain(LISTS.iter().map(|(key, _)| *key)).chain(REST);
            if let Some(part) = names.position(|name| key.is(name)).and_then(|at| parts.get_mut(at)) {
                *part = Some(value).filter(|value| !value.is_null());
            }
        }
        Self(parts)
    }

    /// True if there is any place where an event may stand.
    pub(super) fn has_doors(&self) -> bool {
        self.log_entry().is_some() || self.list().is_some() || self.values().next().is_some()
    }

    /// What stands where an event may, the likeliest first.
    pub(super) fn values(&self) -> impl Iterator<Item = Json<'a>> {
        self.0.iter().take(DOORS.len()).flatten().copied()
    }

    /// The records of a list, if there is one.
    pub(super) fn list(&self) -> Option<Records<'a>> {
        let lists = self.0.iter().skip(LISTS_START).zip(LISTS);
        let mut lists = lists.filter_map(|(list, (_, path))| Some(Records { list: (*list)?, path }));
        lists.find(|records| records.list.kind() == Kind::Array)
    }

    /// What else the wrapper says.
    pub(super) fn get(&self, name: &str) -> Option<Json<'a>> {
        let at = REST.iter().position(|rest| *rest == name)?;
        *self.0.get(REST_START + at)?
    }

    /// The text of that.
    pub(super) fn text(&self, name: &str) -> Option<std::borrow::Cow<'a, str>> {
        self.get(name)?.as_str()
    }

    /// The audit log inside a log entry of Google Cloud, if it is about a cluster.
    pub(super) fn log_entry(&self) -> Option<Json<'a>> {
        let entry = self.get("protoPayload")?;
        (entry.str_at("serviceName").as_deref() == Some("k8s.io")).then_some(entry)
    }

    /// True if a cloud says that this is another log than the audit log. Shippers are not asked,
    /// and an event is taken whatever is said.
    pub(super) fn is_of_other_log(&self) -> bool {
        self.is_control_message()
            || self.is_other_stream()
            || self.is_other_category()
            || self.is_other_service()
    }

    /// AWS sends one to see whether somebody is there.
    fn is_control_message(&self) -> bool {
        self.text("messageType").as_deref() == Some("CONTROL_MESSAGE")
    }

    /// The control plane of EKS writes all its logs to one group.
    fn is_other_stream(&self) -> bool {
        let is_of_eks = self.text("logGroup").is_some_and(|group| group.starts_with("/aws/eks/"));
        let stream = self.text("logStream");
        is_of_eks && stream.is_some_and(|stream| !stream.starts_with("kube-apiserver-audit"))
    }

    /// The control plane of AKS writes its logs in categories, of which `kube-audit` and
    /// `kube-audit-admin` are audit logs.
    fn is_other_category(&self) -> bool {
        let category = self.get("resourceId").and_then(|_| self.text("category"));
        category.is_some_and(|category| !category.starts_with("kube-audit"))
    }

    /// Every service of Google Cloud writes audit logs.
    fn is_other_service(&self) -> bool {
        let service = self.get("protoPayload").and_then(|entry| entry.str_at("serviceName"));
        self.get("logName").is_some() && service.is_some_and(|service| service != "k8s.io")
    }
}

/// The records of a list that may lie in the elements of another one.
pub(super) struct Records<'a> {
    list: Json<'a>,
    path: &'static [&'static str],
}

impl<'a> Records<'a> {
    /// Gives each record. No deeper than the path is long.
    pub(super) fn for_each(self, mut give: impl FnMut(Json<'a>)) {
        each(self.list, self.path, &mut give);
    }
}

fn each<'a>(list: Json<'a>, path: &[&str], give: &mut impl FnMut(Json<'a>)) {
    match path.split_first() {
        None => list.elements().for_each(give),
        Some((key, rest)) => list.elements().for_each(|element| {
            match element.get(key).filter(|inner| inner.kind() == Kind::Array) {
                Some(inner) => each(inner, rest, give),
                // It is opened in another way, or refused.
                None => give(element),
            }
        }),
    }
}
