//! That the schema and the reader of the configuration know the same keys.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::super::mistake::{MistakeKind, Mistakes};
use super::super::read;
use super::*;

/// Every mapping there is, with `@` for a key of it, and where its schema is.
const PLACES: &[(&str, &str)] = &[
    ("@", ""),
    ("rules: { @ }", "/definitions/Rules"),
    ("sources: { a: { type: webhook, @ } }", "/definitions/Source/oneOf/0"),
    ("sources: { a: { type: webhook, limits: { @ } } }", "/definitions/Limits"),
    ("sources: { a: { type: webhook, tls: { @ } } }", "/definitions/Tls"),
    ("sources: { a: { type: webhook, tokens: [{ @ }] } }", "/definitions/Token"),
    ("sources: { a: { type: file, @ } }", "/definitions/Source/oneOf/1"),
    #[cfg(feature = "kafka")]
    ("sources: { a: { type: kafka, @ } }", "/definitions/Source/oneOf/2"),
    #[cfg(feature = "kafka")]
    ("sources: { a: { type: kafka, cluster_from: { @ } } }", "/definitions/ClusterFrom"),
    #[cfg(feature = "kafka")]
    ("sources: { a: { type: kafka, limits: { @ } } }", "/definitions/KafkaLimits"),
    ("sinks: { a: { type: stdout, @ } }", "/definitions/Sink/oneOf/0"),
    ("sinks: { a: { type: file, @ } }", "/definitions/Sink/oneOf/1"),
    ("sinks: { a: { type: file, rotate: { @ } } }", "/definitions/Rotate"),
    ("sinks: { a: { type: http, @ } }", "/definitions/Sink/oneOf/2"),
    ("sinks: { a: { type: http, batch: { @ } } }", "/definitions/Batch"),
    #[cfg(feature = "kafka")]
    ("sinks: { a: { type: kafka, @ } }", "/definitions/Sink/oneOf/3"),
    #[cfg(feature = "kafka")]
    ("sinks: { a: { type: kafka, tls: { @ } } }", "/definitions/KafkaTls"),
    #[cfg(feature = "kafka")]
    ("sinks: { a: { type: kafka, sasl: { @ } } }", "/definitions/Sasl"),
    ("routes: [{ @ }]", "/definitions/Route"),
    ("routes: [{ match: { @ } }]", "/definitions/Matcher"),
    ("admin: { @ }", "/definitions/Admin"),
    #[cfg(feature = "kafka")]
    ("fleet: { @ }", "/definitions/Fleet"),
    ("retention: { @ }", "/definitions/Retention"),
    ("silence: { @ }", "/definitions/Silence"),
    ("log: { @ }", "/definitions/Log"),
];

#[test]
fn the_schema_has_the_keys_that_are_read() {
    let schema = schema();
    for (yaml, pointer) in PLACES {
        let shape = schema.pointer(pointer).unwrap_or_else(|| panic!("no `{pointer}` in {schema:#}"));
        let mut keys: BTreeSet<&str> =
            shape["properties"].as_object().expect("keys").keys().map(String::as_str).collect();
        keys.remove("type");
        assert_eq!(keys, keys_read(yaml), "{yaml}");
        assert_eq!(shape["additionalProperties"], Value::Bool(false), "{pointer}");
    }
}

#[test]
fn every_definition_with_keys_is_compared() {
    let schema = schema();
    for (name, shape) in schema["definitions"].as_object().expect("definitions") {
        let pointer = format!("/definitions/{name}");
        let is_compared = PLACES.iter().any(|(_, place)| place.starts_with(&pointer));
        assert!(shape.get("properties").is_none() || is_compared, "add `{name}` to the places");
    }
}

#[test]
fn every_key_is_described() {
    let schema = schema();
    for (_, pointer) in PLACES {
        let shape = schema.pointer(pointer).expect("a schema");
        for (key, value) in
            shape["properties"].as_object().expect("keys").iter().filter(|(key, _)| *key != "type")
        {
            assert!(value.get("description").is_some(), "{pointer}: `{key}` has no description: {value}");
        }
    }
}

/// The keys that are known where a text has a wrong one.
fn keys_read(yaml: &str) -> BTreeSet<&'static str> {
    let mut mistakes = Mistakes::new(Path::new("masthead.yml"), yaml.replace('@', "zzzzzzzz: 1"));
    let _ = read::understand(Path::new("/"), &mut mistakes);
    let known = mistakes.list.into_iter().find_map(|mistake| match mistake.kind {
        MistakeKind::UnknownKey { name, known } if name == "zzzzzzzz" => Some(known),
        _ => None,
    });
    known.unwrap_or_else(|| panic!("not refused: {yaml}")).into_iter().collect()
}
