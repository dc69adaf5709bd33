//! The name that a certificate signing request asks for.
//!
//! Only the subject is decoded, and leniently: what stands after it cannot keep a request
//! from being seen.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use x509_parser::asn1_rs::{FromDer, Header, Oid};
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME};
use x509_parser::x509::X509Name;

use super::Known;
use crate::event::{Event, Key};
use crate::field::{Sight, Value};
use crate::json::Json;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
const END: &str = "-----END CERTIFICATE REQUEST-----";
const BMP_STRING_TAG: u32 = 30;

/// A part of a name.
#[derive(Clone, Copy)]
pub(super) enum Attribute {
    CommonName,
    Organization,
}

impl Attribute {
    fn oid(self) -> Oid<'static> {
        match self {
            Self::CommonName => OID_X509_COMMON_NAME,
            Self::Organization => OID_X509_ORGANIZATION_NAME,
        }
    }
}

/// Appends an attribute of the name that the request asks for.
pub(super) fn read<'a>(attribute: Attribute, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    let target = known.target();
    if target.resource != "certificatesigningrequests" || !target.subresource.is_empty() {
        return Sight::Clear;
    }
    let written = known.written();
    let mut sight = written.sight;
    for request in written.trees().filter_map(|tree| tree.at(&["spec", "request"])) {
        sight = sight.and(request.sight());
        if let Some(text) = request.value().and_then(Json::as_str) {
            let names = attributes(&text, &attribute.oid());
            values.extend(names.into_iter().map(|name| Value::Text(name.into())));
        }
    }
    sight
}

/// The name and the groups in the request that the body of an event carries.
pub(crate) fn subject_of(event: &Event<'_>) -> Option<(Vec<String>, Vec<String>)> {
    let request = event.at(Key::RequestObject, &["spec", "request"])?.as_str()?;
    let read = |attribute: Attribute| attributes(&request, &attribute.oid());
    Some((read(Attribute::CommonName), read(Attribute::Organization)))
}

fn attributes(base64: &str, oid: &Oid<'_>) -> Vec<String> {
    let pem = decode(base64);
    let pem = String::from_utf8_lossy(&pem);
    let mut names = Vec::new();
    for block in pem.split(BEGIN).skip(1) {
        let der = decode_block(block.split(END).next().unwrap_or_default());
        if let Some((_, subject)) = subject(&der) {
            names.extend(subject.iter_by_oid(oid).map(|attribute| text(attribute.attr_value())));
        }
    }
    names
}

/// Decodes the body of a PEM block; lines with a colon are headers.
fn decode_block(block: &str) -> Vec<u8> {
    decode(&block.lines().filter(|line| !line.contains(':')).collect::<String>())
}

fn decode(base64: &str) -> Vec<u8> {
    let dense: Vec<u8> = base64.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(dense).unwrap_or_default()
}

/// The subject: what follows the version inside the two outermost sequences.
fn subject(der: &[u8]) -> Option<(&[u8], X509Name<'_>)> {
    let (request, _) = Header::from_der(der).ok()?;
    let (information, _) = Header::from_der(request).ok()?;
    let (rest, version) = Header::from_der(information).ok()?;
    let after_version = rest.get(version.length().definite().ok()?..)?;
    X509Name::from_der(after_version).ok()
}

fn text(value: &x509_parser::asn1_rs::Any<'_>) -> String {
    if value.tag().0 == BMP_STRING_TAG {
        let units: Vec<u16> =
            value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(value.data).into_owned()
}
