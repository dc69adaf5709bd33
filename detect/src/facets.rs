//! Parts of events that are told apart by what rules make of them and by nothing else: who acts,
//! from where, with what client, in which namespace. They come and go, and rules know few by name.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::context::{self, Shown};
use crate::derived::Derived;
use crate::event::{Event, Key};
use crate::field::Field;
use crate::json::{Json, Kind};
use crate::recent::{Kept, Recent};
use crate::truth::Truth;

/// A part of an event. What items ask about it alone makes it one of few classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facet {
    Identity,
    Authentication,
    Source,
    Client,
    Reason,
    Namespace,
}

use Facet::{Authentication, Client, Identity, Namespace, Reason, Source};

const USER: &[&str] = &["username", "groups"];
const REASON: &str = "authorization.k8s.io/reason";
const NAMESPACE: &str = "namespace";

const fn whole(keys: &'static [Key]) -> Shown {
    Shown { whole: keys, parts: &[], tells_of_entries: false, tells_of_all_keys: false }
}

/// One entry of what is hidden in a context, whatever else is there.
const fn entry(parts: &'static [(Key, &'static [&'static str])]) -> Shown {
    Shown { whole: &[], parts, tells_of_entries: false, tells_of_all_keys: false }
}

/// What the facets show, in the order of [`Facet::ALL`].
static SHOWN: [Shown; Facet::ALL.len()] = [
    Shown {
        whole: &[],
        // Accounts have tokens and keys of their own, which are new all the time.
        parts: &[(Key::User, USER), (Key::ImpersonatedUser, USER)],
        tells_of_entries: true,
        tells_of_all_keys: false,
    },
    whole(&[Key::AuthenticationMetadata]),
    whole(&[Key::SourceIps]),
    whole(&[Key::UserAgent]),
    entry(&[(Key::Annotations, &[REASON])]),
    entry(&[(Key::ObjectRef, &[NAMESPACE])]),
];

impl Facet {
    pub(crate) const ALL: [Facet; 6] = [Identity, Authentication, Source, Client, Reason, Namespace];

    /// What is shown to an item that is asked about this facet.
    pub(crate) fn shown(self) -> &'static Shown {
        &SHOWN[self as usize]
    }

    /// The facet that a field is likely to be read from alone. Where it is not, its items are
    /// found to be open and asked about each event.
    pub(crate) fn of(field: &Field) -> Option<Self> {
        use Derived as D;
        match field {
            Field::Path(path) => {
                let (root, rest) = path.split_once('.').unwrap_or((path, ""));
                match Key::from_name(root)? {
                    Key::User | Key::ImpersonatedUser => Some(Identity),
                    Key::AuthenticationMetadata => Some(Authentication),
                    Key::SourceIps => Some(Source),
                    Key::UserAgent => Some(Client),
                    Key::Annotations if rest == REASON => Some(Reason),
                    Key::ObjectRef if rest == NAMESPACE => Some(Namespace),
                    _ => None,
                }
            }
            Field::Derived(derived, _) => match derived {
                D::ActorName | D::ActorKind | D::ActorGroups | D::ActorNamespace | D::ActorOriginal => {
                    Some(Identity)
                }
                D::SourceIp | D::SourceScope => Some(Source),
                D::ClientFamily => Some(Client),
                _ => None,
            },
        }
    }
}

/// Whether each item of a facet holds; nothing where more than the facet decides it.
pub(crate) type Truths = Arc<[Option<Truth>]>;

/// The top-level keys that a context shows in part or that a facet lies in, and the facet; that of people
/// who act as others lies in a second key, too.
const PARTS: [(Key, Option<Facet>); 7] = [
    (Key::User, Some(Identity)),
    (Key::AuthenticationMetadata, Some(Authentication)),
    (Key::SourceIps, Some(Source)),
    (Key::UserAgent, Some(Client)),
    (Key::Annotations, Some(Reason)),
    (Key::ObjectRef, Some(Namespace)),
    (Key::ResponseStatus, None),
];

/// The facets of events: what has been seen of each, and its classes.
#[derive(Debug, Default)]
pub(crate) struct Facets {
    of: [Faces; Facet::ALL.len()],
    /// By part: what was written of those that came of late.
    recent: [Recent; PARTS.len()],
    /// What is written of a facet in an event.
    written: Vec<u8>,
}

/// What has been seen of one facet.
#[derive(Debug, Default)]
struct Faces {
    /// By what is written: the number of its class.
    known: HashMap<Box<[u8]>, u64, RandomState>,
    known_bytes: usize,
    numbers: HashMap<Truths, u64, RandomState>,
    classes: Vec<Truths>,
    /// How many classes have been forgotten: their numbers are not given again.
    forgotten_count: u64,
}

/// The numbers of the classes that an event is in, by facet.
pub(crate) type Classes = [u64; Facet::ALL.len()];

/// How much is remembered of each facet, in bytes; all is forgotten when there is more. This is room for
/// the nodes and service accounts of a large cluster.
const KNOWN_BYTES_MAX: usize = 4 << 20;

/// How long a facet may be, as it is written, to be remembered.
const WRITTEN_BYTES_MAX: usize = 1 << 10;

/// What remembering takes besides the bytes themselves.
const ENTRY_BYTES: usize = 64;

/// How many classes of a facet are told apart; all are forgotten when there are more. Few rules name a
/// namespace or a user, and most of them the same.
const CLASSES_MAX: usize = 1 << 10;

impl Facets {
    /// Writes the context of an event as bytes that no other context has, and gives its classes.
    /// `ask` says whether the items of a facet hold.
    pub(crate) fn write_context(
        &mut self,
        event: &Event<'_>,
        bytes: &mut Vec<u8>,
        mut ask: impl FnMut(Facet) -> Truths,
    ) -> Classes {
        bytes.clear();
        context::write_keys(event, bytes);
        let mut classes = Classes::default();
        for (number, (_, facet)) in PARTS.into_iter().enumerate() {
            let class = self.write_part(number, event, bytes, &mut ask);
            if let Some(facet) = facet {
                classes[facet as usize] = class;
            }
        }
        classes
    }

    /// Writes what a context has of a part of an event, unless it was written of late: then that is repeated. Gives the class of
    /// the facet in it.
    fn write_part(
        &mut self,
        number: usize,
        event: &Event<'_>,
        bytes: &mut Vec<u8>,
        ask: &mut impl FnMut(Facet) -> Truths,
    ) -> u64 {
        let Self { of, recent, written } = self;
        let (key, facet) = PARTS[number];
        let recent = &mut recent[number];
        // No value is empty, so this is its absence.
        let part = event.top_level(key).map_or(&[][..], Json::bytes);
        let place = if recurs(key, event) { recent.place(part) } else { None };
        let is_known = |kept: &&Kept| facet.is_none_or(|facet| of[facet as usize].is_known(kept.class));
        if let Some(kept) = place.and_then(|place| recent.get(place, part)).filter(is_known) {
            bytes.extend_from_slice(&kept.written);
            return kept.class;
        }
        let start = bytes.len();
        written.clear();
        write(event, key, bytes, written);
        let class = facet.map_or(0, |facet| of[facet as usize].class_of(written, || ask(facet)));
        bytes.extend_from_slice(&class.to_le_bytes());
        if let Some(place) = place {
            recent.keep(place, part, &bytes[start..], class);
        }
        class
    }

    /// Whether the items of a facet hold in the class that was found last.
    pub(crate) fn truths(&self, facet: Facet, classes: &Classes) -> &[Option<Truth>] {
        self.of[facet as usize].truths(classes[facet as usize]).map_or(&[], |truths| truths)
    }
}

/// Whether the value of a top-level key is likely to come again, and decides alone what is written of its part.
fn recurs(key: Key, event: &Event<'_>) -> bool {
    match key {
        Key::User => event.top_level(Key::ImpersonatedUser).is_none(),
        // Objects have names and versions, which are new all the time.
        Key::ObjectRef => false,
        _ => true,
    }
}

/// Writes what a context has of a top-level key, its class aside, and what the facet in it shows.
fn write(event: &Event<'_>, key: Key, bytes: &mut Vec<u8>, facet: &mut Vec<u8>) {
    let value = event.top_level(key);
    let name = match key {
        Key::User => {
            context::write_part(value, USER, facet, |_| {});
            return context::write_part(event.top_level(Key::ImpersonatedUser), USER, facet, |_| {});
        }
        Key::Annotations => REASON,
        Key::ObjectRef => NAMESPACE,
        Key::ResponseStatus => return context::write_entries(key, value, bytes, |_| {}),
        _ => return context::write_value(value, facet),
    };
    // What is no object is all that there is of it.
    context::write_value(value.filter(|value| value.kind() != Kind::Object), facet);
    context::write_entries(key, value, bytes, |entry| context::write_entry(entry, name, facet));
}

impl Faces {
    /// The number of the class of a facet that is written so.
    fn class_of(&mut self, written: &[u8], ask: impl FnOnce() -> Truths) -> u64 {
        if let Some(class) = self.known.get(written) {
            return *class;
        }
        let class = self.number(ask());
        if written.len() <= WRITTEN_BYTES_MAX {
            let entry_bytes = written.len() + ENTRY_BYTES;
            if self.known_bytes + entry_bytes > KNOWN_BYTES_MAX {
                self.forget();
            }
            self.known_bytes += entry_bytes;
            self.known.insert(written.into(), class);
        }
        class
    }

    /// Whether the class of this number has not been forgotten.
    fn is_known(&self, class: u64) -> bool {
        class >= self.forgotten_count
    }

    fn forget(&mut self) {
        self.known.clear();
        self.known_bytes = 0;
    }

    fn number(&mut self, truths: Truths) -> u64 {
        if let Some(number) = self.numbers.get(&truths) {
            return *number;
        }
        if self.classes.len() == CLASSES_MAX {
            self.forgotten_count += self.classes.len() as u64;
            self.classes.clear();
            self.numbers.clear();
            self.forget();
        }
        let number = self.forgotten_count + self.classes.len() as u64;
        self.classes.push(Arc::clone(&truths));
        self.numbers.insert(truths, number);
        number
    }

    fn truths(&self, class: u64) -> Option<&Truths> {
        self.classes.get(usize::try_from(class.checked_sub(self.forgotten_count)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(faces: &mut Faces, written: &[u8], truth: Truth) -> u64 {
        faces.class_of(written, || [Some(truth)].into())
    }

    #[test]
    fn what_items_make_the_same_of_is_one_class() {
        let mut faces = Faces::default();
        assert_eq!(class_of(&mut faces, b"a", Truth::False), 0);
        assert_eq!(class_of(&mut faces, b"b", Truth::True), 1);
        assert_eq!(class_of(&mut faces, b"c", Truth::False), 0);
        assert_eq!(class_of(&mut faces, b"b", Truth::False), 1, "remembered");
        assert_eq!(faces.truths(1).map(|truths| &**truths), Some(&[Some(Truth::True)][..]));
    }

    #[test]
    fn memory_is_bounded_and_no_number_is_given_twice() {
        let mut faces = Faces::default();
        for number in 0..1_u32 << 16 {
            let bits: Truths = (0..u32::BITS).map(|bit| Some(Truth::from(number >> bit & 1 == 1))).collect();
            let class = faces.class_of(&number.to_le_bytes(), || Arc::clone(&bits));
            assert_eq!(class, u64::from(number));
            assert_eq!(faces.truths(class), Some(&bits));
            assert!(faces.known_bytes <= KNOWN_BYTES_MAX && faces.classes.len() <= CLASSES_MAX);
        }
        assert!(faces.truths(0).is_none(), "forgotten");
    }

    #[test]
    fn the_accounts_of_a_large_cluster_stay_known() {
        let mut faces = Faces::default();
        for round in 0..2 {
            for number in 0..10_000_u64 {
                let written = [&[b'x'; 200][..], &number.to_le_bytes()].concat();
                let class = faces.class_of(&written, || {
                    assert_eq!(round, 0, "{number} is forgotten");
                    [Some(Truth::False)].into()
                });
                assert_eq!(class, 0);
            }
        }
    }

    #[test]
    fn what_is_long_is_not_remembered() {
        let mut faces = Faces::default();
        assert_eq!(class_of(&mut faces, &[b'x'; WRITTEN_BYTES_MAX + 1], Truth::False), 0);
        assert!(faces.known.is_empty());
    }

    /// What items make of a facet that tell all that they read from each other.
    fn truths_of(facet: Facet, event: &Event<'_>) -> Truths {
        let read = |key, name| event.str_at(key, name).unwrap_or_default().into_owned();
        let text = match facet {
            Identity => read(Key::User, "username") + "/" + &read(Key::ImpersonatedUser, "username"),
            Client => event.str(Key::UserAgent).unwrap_or_default().into_owned(),
            Reason => read(Key::Annotations, REASON),
            Namespace => read(Key::ObjectRef, NAMESPACE),
            Authentication | Source => String::new(),
        };
        let bits = text.bytes().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        bits.map(|bit| Some(Truth::from(bit))).collect()
    }

    fn context_of(facets: &mut Facets, json: &str) -> (Vec<u8>, Classes) {
        let event = Event::parse(json.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let classes = facets.write_context(&event, &mut bytes, |facet| truths_of(facet, &event));
        (bytes, classes)
    }

    #[test]
    fn events_have_one_context_where_all_that_it_shows_is_the_same_whatever_came_before() {
        // Those of one number have the same context.
        const EVENTS: &[(u32, &str)] = &[
            (0, r#"{"user":{"username":"a","uid":"1"},"responseStatus":{"code":200}}"#),
            (0, r#"{"user":{"username":"a","uid":"2"},"responseStatus":{"code":200}}"#),
            (1, r#"{"user":{"username":"b","uid":"1"},"responseStatus":{"code":200}}"#),
            (2, r#"{"user":{"username":"a","uid":"1"},"responseStatus":{"code":201}}"#),
            (
                3,
                r#"{"user":{"username":"a","uid":"1"},"responseStatus":{"code":200},"impersonatedUser":{"username":"b"}}"#,
            ),
            (
                4,
                r#"{"user":{"username":"a","uid":"1"},"responseStatus":{"code":200},"impersonatedUser":{"username":"c"}}"#,
            ),
            (
                5,
                r#"{"user":{"username":"a","uid":"1"},"responseStatus":{"code":200},"impersonatedUser":null}"#,
            ),
            (6, r#"{"user":{"username":"a","uid":"1"},"responseStatus":null}"#),
            (7, r#"{"user":{"username":"a","uid":"1"}}"#),
            (8, r#"{"responseStatus":{"code":200}}"#),
            (9, r#"{"objectRef":{"namespace":"n","name":"a"},"annotations":{"b":"c"}}"#),
            (9, r#"{"objectRef":{"namespace":"n","name":"b"},"annotations":{"b":"d"}}"#),
            (10, r#"{"objectRef":{"namespace":"m","name":"a"},"annotations":{"b":"c"}}"#),
            (
                11,
                r#"{"objectRef":{"namespace":"n","name":"a"},"annotations":{"authorization.k8s.io/reason":"c"}}"#,
            ),
            (
                12,
                r#"{"objectRef":{"namespace":"n","name":"a"},"annotations":{"authorization.k8s.io/reason":"d"}}"#,
            ),
            (13, r#"{"userAgent":"c"}"#),
            (14, r#"{"userAgent":"d"}"#),
        ];
        let mut facets = Facets::default();
        let once = EVENTS.iter().chain(EVENTS.iter().rev());
        let contexts: Vec<_> = once.map(|(number, json)| (number, context_of(&mut facets, json).0)).collect();
        for (one, left) in &contexts {
            for (other, right) in &contexts {
                assert_eq!(left == right, one == other, "{one} {other}");
            }
        }
    }

    #[test]
    fn nothing_is_shown_that_no_part_writes() {
        let of_facets =
            SHOWN.iter().flat_map(|shown| shown.whole.iter().chain(shown.parts.iter().map(|(key, _)| key)));
        let shown = of_facets.chain(context::CONTEXT.parts.iter().map(|(key, _)| key));
        for key in shown.filter(|key| **key != Key::ImpersonatedUser) {
            assert!(PARTS.iter().any(|(part, _)| part == key), "{key:?}");
        }
    }

    #[test]
    fn classes_that_were_forgotten_are_found_anew() {
        let mut facets = Facets::default();
        let stays = r#"{"userAgent":"stays"}"#;
        let truths = truths_of(Client, &Event::parse(stays.as_bytes()).unwrap());
        for number in 0..3 * CLASSES_MAX {
            let (_, classes) = context_of(&mut facets, stays);
            assert_eq!(facets.truths(Client, &classes), &*truths, "{number}");
            context_of(&mut facets, &format!(r#"{{"userAgent":"{number}"}}"#));
        }
        assert!(facets.of[Client as usize].forgotten_count > 0);
    }
}
