//! Which names promise a credential.

use std::sync::LazyLock;

/// Ends of names, without separators and in lower case, whose values are credentials.
const ENDS: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "token",
    "secret",
    "apikey",
    "apikeys",
    "accesskey",
    "accesskeyid",
    "secretkey",
    "privatekey",
    "privatekeypem",
    "signingkey",
    "encryptionkey",
    "sharedkey",
    "accountkey",
    "authkey",
    "sessionkey",
    "masterkey",
    "hmackey",
    "sshkey",
    "deploykey",
    "keydata",
    "credential",
    "credentials",
    "creds",
    "connectionstring",
    "connstring",
    "dockerconfigjson",
    "dockercfg",
    "authorization",
    "cookie",
    "jwt",
    "bearer",
    "secretvalue",
    "secretstring",
    "tokenvalue",
    "authtokens",
    "accesstokens",
    "passwordhash",
    "accesssignature",
];

/// Names that are credentials only when they are the last word, as in `DB_PASS` but not `bypass`.
const WORDS: &[&str] = &["pass", "pw", "dsn", "sas", "sig", "signature", "pat", "auth"];

/// Words anywhere in the name of an environment variable that make its value a credential.
const VARIABLE_WORDS: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "PWD",
    "PASSPHRASE",
    "TOKEN",
    "SECRET",
    "APIKEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "JWT",
];

/// Words that do so only as the last one.
const LAST_VARIABLE_WORDS: &[&str] = &["KEY", "KEYS", "SECRETS", "PRIVATE"];

/// Last words of names that say where or how, and not what.
const ABOUT: &[&str] = &[
    "FILE",
    "FILES",
    "FILENAME",
    "PATH",
    "DIR",
    "DIRECTORY",
    "NAME",
    "NAMES",
    "NAMESPACE",
    "TTL",
    "ENABLED",
    "DISABLED",
    "TYPE",
    "HOST",
    "PORT",
    "ENDPOINT",
    "MODE",
    "ALGORITHM",
    "EXPIRY",
    "EXPIRATION",
    "TIMEOUT",
    "LENGTH",
    "SIZE",
    "COUNT",
    "ISSUER",
    "AUDIENCE",
    "HEADER",
    "REF",
    "METHOD",
    "SERVER",
    "REALM",
    "VERSION",
    "PROVIDER",
    "REGION",
    "INTERVAL",
];

/// Whether a key of an object, a flag or a query parameter of this name holds a credential.
pub(super) fn is_credential(name: &str) -> bool {
    // Names are short; what is not is no name.
    let Some(tail) = tail(name) else { return false };
    if !may_be_credential(tail) {
        return false;
    }
    let end = BareEnd::of(tail);
    let last = end.letters().last();
    // Most words differ in their last letter, which takes less to compare than all of them.
    let mut ends = ENDS.iter().map(|word| word.as_bytes()).filter(|word| word.last() == last);
    ends.any(|word| end.letters().ends_with(word)) || WORDS.iter().any(|word| is_last_word(tail, word))
}

/// By the last letter of [`ENDS`] and [`WORDS`]: which letters stand before it, a bit each.
static LAST_LETTERS: LazyLock<[u32; 26]> = LazyLock::new(|| {
    let mut before = [0; 26];
    for word in ENDS.iter().chain(WORDS) {
        if let [.., first, last] = word.as_bytes()
            && let (Some(first), Some(last)) = (letter_number(*first), letter_number(*last))
            && let Some(before) = before.get_mut(last)
        {
            *before |= 1 << first;
        }
    }
    before
});

/// False for most names: by their last two letters.
fn may_be_credential(name: &str) -> bool {
    let are_last = |first: u8, last: u8| {
        let before = letter_number(last).and_then(|last| LAST_LETTERS.get(last));
        before.zip(letter_number(first)).is_some_and(|(before, first)| before >> first & 1 == 1)
    };
    match name.as_bytes() {
        // Nearly all names end in letters.
        [.., first, last] if first.is_ascii_alphabetic() && last.is_ascii_alphabetic() => {
            are_last(*first, *last)
        }
        bytes => {
            let letters = bytes.iter().rev().copied().filter(u8::is_ascii_alphanumeric);
            let mut letters = letters.skip_while(u8::is_ascii_digit);
            letters.next().zip(letters.next()).is_some_and(|(last, first)| are_last(first, last))
        }
    }
}

fn letter_number(letter: u8) -> Option<usize> {
    letter.is_ascii_alphabetic().then(|| usize::from(letter.to_ascii_lowercase() - b'a'))
}

/// How many letters of a name are compared: more than [`ENDS`] have.
const END_BYTES_MAX: usize = 24;

/// The last letters of a name without separators and in lower case, and without digits behind them.
struct BareEnd {
    letters: [u8; END_BYTES_MAX],
    from: usize,
}

impl BareEnd {
    fn of(name: &str) -> Self {
        let (mut letters, mut from) = ([0; END_BYTES_MAX], END_BYTES_MAX);
        let bare = name.bytes().rev().filter(u8::is_ascii_alphanumeric);
        let bare = bare.skip_while(u8::is_ascii_digit).take(END_BYTES_MAX);
        for (letter, place) in bare.zip(letters.iter_mut().rev()) {
            *place = letter.to_ascii_lowercase();
            from -= 1;
        }
        Self { letters, from }
    }

    fn letters(&self) -> &[u8] {
        self.letters.get(self.from..).unwrap_or_default()
    }
}

/// Whether the environment variable, header or parameter of this name holds a credential.
pub(super) fn is_credential_variable(name: &str) -> bool {
    if is_credential(name) {
        return !matches!(name, "PWD" | "OLDPWD");
    }
    let Some(tail) = tail(name) else { return false };
    let upper = tail.to_ascii_uppercase();
    let words = upper.split(|letter: char| !letter.is_ascii_alphanumeric());
    let mut words = words
        .map(|word| word.trim_end_matches(|letter: char| letter.is_ascii_digit()))
        .filter(|word| !word.is_empty());
    let last = words.clone().next_back().unwrap_or_default();
    !ABOUT.iter().any(|about| last.ends_with(about))
        && (LAST_VARIABLE_WORDS.contains(&last) || words.any(|word| VARIABLE_WORDS.contains(&word)))
}

/// Whether a key within an object that is called like a credential holds the credential itself,
/// and not where it can be found.
pub(super) fn is_content(key: &str) -> bool {
    const KEYS: &[&str] = &[
        "value",
        "values",
        "plain",
        "plaintext",
        "literal",
        "inline",
        "raw",
        "content",
        "data",
        "default",
        "string",
    ];
    KEYS.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// Whether a key holds a copy of the object as it was applied, with all that it held.
pub(super) fn is_last_applied(key: &str) -> bool {
    const KEYS: &[&str] = &[
        "kubectl.kubernetes.io/last-applied-configuration",
        "objectset.rio.cattle.io/applied",
        "kapp.k14s.io/original",
        "banzaicloud.com/last-applied",
    ];
    if memchr::memchr(b'/', key.as_bytes()).is_none() {
        return false;
    }
    let lower = tail(key).unwrap_or_default().to_ascii_lowercase();
    KEYS.contains(&lower.as_str())
        || lower.ends_with("/last-applied-configuration")
        || lower.ends_with("/last-applied")
        || lower.ends_with("/last-applied-config")
}

/// Whether what stands at a field of a rule might be a secret, by the field's path alone.
pub(super) fn is_secret_field(field: &str) -> bool {
    let mut segments = field.split(['.', '"', '[', ']']).filter(|segment| !segment.is_empty());
    let in_body = match segments.clone().next() {
        Some("requestObject" | "responseObject" | "written" | "pod" | "container") => true,
        // Of the event itself only what a client may name is looked at.
        _ => return false,
    };
    let of_environment = field.ends_with("env.value");
    in_body
        && (of_environment
            || field == "requestObject.value"
            || is_last_applied_path(field)
            || is_credential(segments.clone().next_back().unwrap_or_default())
            || segments.any(|segment| {
                segment.eq_ignore_ascii_case("data") || segment.eq_ignore_ascii_case("stringData")
            }))
}

fn is_last_applied_path(field: &str) -> bool {
    field.to_ascii_lowercase().contains("last-applied")
}

/// The end of a name, as far as names go.
fn tail(name: &str) -> Option<&str> {
    /// A name that is longer ends in what it is all the same.
    const NAME_BYTES_MAX: usize = 512;
    let from = name.len().saturating_sub(NAME_BYTES_MAX);
    (from..=name.len()).find_map(|at| name.get(at..))
}

/// True when a name is this word or ends in it behind a separator or a change to a capital.
fn is_last_word(name: &str, word: &str) -> bool {
    let name = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let Some(at) = name.len().checked_sub(word.len()).filter(|at| name.is_char_boundary(*at)) else {
        return false;
    };
    let (before, last) = name.split_at(at);
    let is_capital = last.starts_with(|letter: char| letter.is_ascii_uppercase());
    last.eq_ignore_ascii_case(word)
        && match before.chars().next_back() {
            None => true,
            Some(letter) => !letter.is_ascii_alphanumeric() || is_capital && letter.is_ascii_lowercase(),
        }
}

#[cfg(test)]
mod tests {
    use super::{
        END_BYTES_MAX, ENDS, WORDS, is_credential, is_credential_variable, is_last_applied, is_secret_field,
    };

    #[test]
    fn no_word_is_too_short_or_too_long_to_be_told_by_its_end() {
        for word in ENDS.iter().chain(WORDS) {
            assert!((2..END_BYTES_MAX).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|letter| letter.is_ascii_lowercase()), "{word}");
            assert!(is_credential(word) && is_credential(&format!("{word}2")), "{word}");
        }
    }

    #[test]
    fn names_of_credentials_are_told_from_names_about_them() {
        for name in [
            "password",
            "dbPassword",
            "db-password",
            "PASSWORD_2",
            "token",
            "clientSecret",
            "client_secret",
            "apiKey",
            "API_KEY",
            "connectionString",
            "privateKey",
            "client-key-data",
            "DB_PASS",
            "userPass",
            "auth",
            "aws_access_key_id",
            ".dockerconfigjson",
            "sig",
        ] {
            assert!(is_credential(name), "{name}");
        }
        for name in [
            "secretName",
            "tokenExpirationSeconds",
            "bypass",
            "compass",
            "secretRef",
            "key",
            "keys",
            "kind",
            "caBundle",
            "token-file",
            "credential-id",
            "author",
            "passwordFile",
            "oauth2Path",
            "é",
        ] {
            assert!(!is_credential(name), "{name}");
        }
    }

    #[test]
    fn variables_are_judged_by_all_their_words() {
        for name in
            ["ENCRYPTION_KEY", "KEY", "TOKEN_1", "SECRET_KEY_BASE", "BASIC_AUTH", "db.password", "PASS2"]
        {
            assert!(is_credential_variable(name), "{name}");
        }
        for name in [
            "PWD",
            "OLDPWD",
            "SECRET_NAME",
            "KEY_FILE",
            "MONKEY",
            "AUTH_MODE",
            "GF_AUTH_ANONYMOUS_ORG_ROLE",
            "password.secretName",
            "HOSTNAME",
            "TOKEN_PATH",
        ] {
            assert!(!is_credential_variable(name), "{name}");
        }
    }

    #[test]
    fn copies_of_what_was_applied_and_fields_that_may_be_secret_are_known() {
        assert!(is_last_applied("kubectl.kubernetes.io/last-applied-configuration"));
        assert!(is_last_applied("Kubectl.Kubernetes.IO/Last-Applied-Configuration"));
        assert!(!is_last_applied("last"));
        for field in [
            "requestObject.data.x",
            "written.stringData",
            "container.env.value",
            "responseObject.status.token",
            "requestObject.metadata.annotations.\"kubectl.kubernetes.io/last-applied-configuration\"",
        ] {
            assert!(is_secret_field(field), "{field}");
        }
        for field in
            ["user.username", "exec.command", "requestURI", "requestObject.metadata.name", "pod.hostpath"]
        {
            assert!(!is_secret_field(field), "{field}");
        }
    }
}
