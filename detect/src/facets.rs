//! Parts of events that are told apart by what rules make of them and by nothing else: who acts,
//! from where, with what client, in which namespace. They come and go, and rules know few by name.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::context::{self, Shown};
use crate::derived::Derived;
use crate::event::{Event, Key};
use crate::field::Field;
use crate::json::Kind;
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

/// The facets of events: what has been seen of each, and its classes.
#[derive(Debug, Default)]
pub(crate) struct Facets {
    of: [Faces; Facet::ALL.len()],
    /// By facet, what is written of it in an event.
    written: [Vec<u8>; Facet::ALL.len()],
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
        let Self { of, written } = self;
        bytes.clear();
        written.iter_mut().for_each(Vec::clear);
        write(event, bytes, written);
        let mut classes = Classes::default();
        for (((facet, faces), written), class) in
            Facet::ALL.into_iter().zip(of).zip(written).zip(&mut classes)
        {
            *class = faces.class_of(written, || ask(facet));
            bytes.extend_from_slice(&class.to_le_bytes());
        }
        classes
    }

    /// Whether the items of a facet hold in the class that was found last.
    pub(crate) fn truths(&self, facet: Facet, classes: &Classes) -> &[Option<Truth>] {
        self.of[facet as usize].truths(classes[facet as usize]).map_or(&[], |truths| truths)
    }
}

/// Writes the context of an event, its classes aside, and what all facets show of it.
fn write(event: &Event<'_>, bytes: &mut Vec<u8>, written: &mut [Vec<u8>; Facet::ALL.len()]) {
    for (shown, written) in SHOWN.iter().zip(&mut *written) {
        shown.whole.iter().for_each(|key| context::write_value(event.top_level(*key), written));
    }
    for key in [Key::User, Key::ImpersonatedUser] {
        context::write_part(event.top_level(key), USER, &mut written[Identity as usize], |_| {});
    }
    for (key, facet) in [(Key::Annotations, Reason), (Key::ObjectRef, Namespace)] {
        // What is no object is all that there is of it.
        let other = event.top_level(key).filter(|value| value.kind() != Kind::Object);
        context::write_value(other, &mut written[facet as usize]);
    }
    context::write(event, bytes, |key, entry| match key {
        Key::Annotations => context::write_entry(entry, REASON, &mut written[Reason as usize]),
        Key::ObjectRef => context::write_entry(entry, NAMESPACE, &mut written[Namespace as usize]),
        _ => {}
    });
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
}
