//! Reads the subject out of a CertificateSigningRequest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::body::written;
use crate::event::{Event, Key};
use crate::field::{Sight, Value};

/// Which part of the subject.
#[derive(Clone, Copy)]
pub(super) enum Part {
    CommonName,
    Organization,
}

pub(super) fn read<'a>(event: &Event<'a>, part: Part, values: &mut Vec<Value<'a>>) -> Sight {
    let of_object = |name| event.str_at(Key::ObjectRef, name).unwrap_or_default();
    if of_object("resource") != "certificatesigningrequests" || !of_object("subresource").is_empty() {
        return Sight::Clear;
    }
    let (nodes, sight) = written(event);
    for request in nodes.iter().filter_map(|node| node.at(&["spec", "request"])?.text()) {
        let names = subject(&request, part).unwrap_or_default();
        values.extend(names.into_iter().map(|name| Value::Text(name.into())));
    }
    sight
}

/// The names in the subject of a base64 PEM request; nothing where it is not one.
fn subject(request: &str, part: Part) -> Option<Vec<String>> {
    let pem = STANDARD.decode(request.replace(['\r', '\n'], "")).ok()?;
    let (_, pem) = parse_x509_pem(&pem).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let subject = &request.certification_request_info.subject;
    let text =
        |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    Some(match part {
        Part::CommonName => subject.iter_common_name().filter_map(text).collect(),
        Part::Organization => subject.iter_organization().filter_map(text).collect(),
    })
}
