//! Signed notes: texts with Ed25519 signatures in the form that C2SP describes.
//!
//! A note ends with an empty line and lines of the form `— name base64(key id ‖ signature)`.
//! The tools for transparency logs read and check them with the key's one-line form.

use std::fmt::{self, Display};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// The longest note that is read: checkpoints have a few hundred bytes.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// The most signatures of a note that are looked at: what C2SP asks readers to accept.
pub const NOTE_SIGNATURES_MAX: usize = 16;
/// Stands for Ed25519 in key ids and keys.
const ED25519: u8 = 1;
/// How lines with signatures begin.
const DASH: &str = "\u{2014} ";

/// Why a note or a key cannot be understood or believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// It has another form.
    #[error("this is no signed note")]
    Form,
    /// The key has another form.
    #[error("this is no verification key; it reads `name+id+base64`")]
    Key,
    /// Nobody who is trusted has signed it.
    #[error("the note is not signed by `{0}`")]
    Unsigned(String),
    /// The signature does not belong to the text.
    #[error("the signature of `{0}` does not fit the note")]
    Signature(String),
    /// The text is no checkpoint.
    #[error("the note is no checkpoint of a store")]
    Checkpoint,
}

/// A text and its signatures, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: String,
}

impl SignedNote {
    /// The text that is signed, with its last line break.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks that `key` has signed the note.
    pub fn verify(&self, key: &VerificationKey) -> Result<(), NoteError> {
        for line in self.signatures.lines().take(NOTE_SIGNATURES_MAX) {
            let Some((name, signature)) = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' '))
            else {
                return Err(NoteError::Form);
            };
            let bytes = STANDARD.decode(signature).map_err(|_| NoteError::Form)?;
            let Some((id, signature)) = bytes.split_first_chunk::<4>() else { return Err(NoteError::Form) };
            if name == key.name && *id == key.id() {
                let refused = || NoteError::Signature(key.name.clone());
                let signature = Signature::from_slice(signature).map_err(|_| refused())?;
                return key.key.verify_strict(self.text.as_bytes(), &signature).map_err(|_| refused());
            }
        }
        Err(NoteError::Unsigned(key.name.clone()))
    }
}

impl FromStr for SignedNote {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        let has_control = note.bytes().any(|byte| byte < b' ' && byte != b'\n');
        if note.len() > NOTE_BYTES_MAX || has_control || !note.ends_with('\n') {
            return Err(NoteError::Form);
        }
        let end = note.rfind("\n\n").ok_or(NoteError::Form)?;
        let (text, signatures) = (&note[..=end], &note[end + 2..]);
        if signatures.is_empty() || !signatures.lines().all(|line| line.starts_with(DASH)) {
            return Err(NoteError::Form);
        }
        Ok(Self { text: text.to_owned(), signatures: signatures.to_owned() })
    }
}

impl Display for SignedNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n{}", self.text, self.signatures)
    }
}

/// A key that notes are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationKey {
    name: String,
    key: VerifyingKey,
}

impl VerificationKey {
    /// The key's name: `masthead/` and the id of the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first bytes of a hash of name and key: tells keys apart, proves nothing.
    fn id(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.name.as_bytes());
        hasher.update([b'\n', ED25519]);
        hasher.update(self.key.as_bytes());
        let [a, b, c, d, ..] = <[u8; 32]>::from(hasher.finalize());
        [a, b, c, d]
    }
}

impl Display for VerificationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut encoded = vec![ED25519];
        encoded.extend_from_slice(self.key.as_bytes());
        write!(formatter, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), STANDARD.encode(encoded))
    }
}

impl FromStr for VerificationKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        // Base64 may hold further plus signs, names may not.
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ED25519, key)) = key.split_first() else { return Err(NoteError::Key) };
        let key = VerifyingKey::try_from(key).map_err(|_| NoteError::Key)?;
        let key = Self { name: name.to_owned(), key };
        let is_named = !name.is_empty() && !name.contains(char::is_whitespace);
        if !is_named || format!("{:08x}", u32::from_be_bytes(key.id())) != id {
            return Err(NoteError::Key);
        }
        Ok(key)
    }
}

/// A key that notes are signed with.
pub(super) struct Signer {
    key: SigningKey,
    public: VerificationKey,
}

impl Signer {
    /// A signer of a name from the 32 secret bytes of its key.
    pub(super) fn new(name: String, secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(secret);
        let public = VerificationKey { name, key: key.verifying_key() };
        Self { key, public }
    }

    /// What others check its notes with.
    pub(super) fn public(&self) -> &VerificationKey {
        &self.public
    }

    /// Signs a text, which ends with a line break.
    pub(super) fn sign(&self, text: String) -> SignedNote {
        let mut bytes = self.public.id().to_vec();
        bytes.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        let signatures = format!("{DASH}{} {}\n", self.public.name, STANDARD.encode(bytes));
        SignedNote { text, signatures }
    }
}
