//! Credentials among the words of a command: behind a flag, or in one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

use super::{names, value};

/// How a program takes a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In the same word: `-phunter2`.
    Attached,
    /// In the next word.
    Next,
    /// In the next word, unless that is a port.
    NextButPort,
    /// In either.
    Both,
    /// In either, behind the name of a user and a separator.
    User(char),
    /// In each word, behind an equals sign.
    Assigned,
}

/// Flags that are credentials only to some programs.
struct Family {
    programs: &'static [&'static str],
    flags: &'static [(&'static str, Form)],
}

const FAMILIES: &[Family] = &[
    Family {
        programs: &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlshow",
            "mysqlcheck",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
        ],
        flags: &[("-p", Form::Attached)],
    },
    Family {
        programs: &["sshpass", "mongo", "mongosh", "mongodump", "mongorestore"],
        flags: &[("-p", Form::Both)],
    },
    Family {
        programs: &[
            "docker", "podman", "nerdctl", "helm", "skopeo", "buildah", "oras", "oc", "az", "useradd",
            "usermod",
        ],
        flags: &[("-p", Form::NextButPort)],
    },
    Family { programs: &["http", "https"], flags: &[("-a", Form::User(':')), ("--auth", Form::User(':'))] },
    Family {
        programs: &["openssl", "ssh-keygen"],
        flags: &[("-k", Form::Next), ("-K", Form::Next), ("-N", Form::Next), ("-P", Form::Next)],
    },
    Family { programs: &["vault", "bao"], flags: &[("", Form::Assigned)] },
    Family {
        programs: &["curl", "lftp"],
        flags: &[
            ("-u", Form::User(':')),
            ("--user", Form::User(':')),
            ("-U", Form::User(':')),
            ("--proxy-user", Form::User(':')),
        ],
    },
    Family { programs: &["redis-cli", "valkey-cli"], flags: &[("-a", Form::Both), ("--pass", Form::Next)] },
    Family {
        programs: &["ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldapwhoami"],
        flags: &[("-w", Form::Both)],
    },
    Family {
        programs: &["sqlcmd", "bcp", "smbclient", "rpcclient", "ipmitool"],
        flags: &[("-P", Form::Both), ("-U", Form::User('%'))],
    },
];

/// By the name of a program: its family.
static PROGRAMS: LazyLock<HashMap<&str, Program, RandomState>> = LazyLock::new(|| {
    // Invariant: there are few families.
    let numbered = FAMILIES.iter().zip(1..).map(|(family, number)| (family, Program(number)));
    numbered.flat_map(|(family, number)| family.programs.iter().map(move |name| (*name, number))).collect()
});

/// Which family of [`FAMILIES`] a command runs, counted from 1; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Program(u16);

impl Program {
    /// The program that a word of a command names.
    pub(super) fn of(word: &str) -> Self {
        let name = word.trim_matches(|letter: char| "\"'`$(){};|&\\".contains(letter));
        let name = name.rsplit('/').next().unwrap_or_default();
        PROGRAMS.get(name).copied().unwrap_or_default()
    }

    /// The program of this number.
    pub(super) fn numbered(number: u16) -> Self {
        Self(number)
    }

    /// Its number.
    pub(super) fn number(self) -> u16 {
        self.0
    }

    fn flags(self) -> &'static [(&'static str, Form)] {
        let family = usize::from(self.0).checked_sub(1).and_then(|at| FAMILIES.get(at));
        family.map(|family| family.flags).unwrap_or_default()
    }
}

/// What the words of a command so far say about the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Words {
    program: Program,
    next: Expected,
    /// Whether the next word is a script, as behind `sh -c`.
    is_script: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    #[default]
    Word,
    Secret,
    SecretButPort,
    /// A user and, behind the separator, a secret.
    User(char),
}

impl Words {
    /// The words after a program.
    pub(super) fn after(program: Program) -> Self {
        Self { program, ..Self::default() }
    }

    /// The part of the next word that is a credential.
    pub(super) fn read(&mut self, word: &str) -> Option<Range<usize>> {
        match std::mem::take(&mut self.next) {
            Expected::Secret if !word.starts_with("--") => {
                return (!value::is_public(word)).then_some(0..word.len());
            }
            Expected::SecretButPort if !word.starts_with("--") => {
                return (!value::is_public(word) && !is_port(word)).then_some(0..word.len());
            }
            Expected::User(separator) => return behind(word, 0, separator),
            Expected::Word | Expected::Secret | Expected::SecretButPort => {}
        }
        match Program::of(word) {
            Program(0) => {}
            program => self.program = program,
        }
        if std::mem::replace(&mut self.is_script, is_script_flag(word)) {
            return None;
        }
        if names_setting(word) {
            self.next = Expected::Secret;
            return None;
        }
        self.flag(word).or_else(|| assigned(word)).or_else(|| self.argument(word))
    }

    /// The credential in a word that is no flag.
    fn argument(self, word: &str) -> Option<Range<usize>> {
        let is_assigned = self.program.flags().iter().any(|(_, form)| *form == Form::Assigned);
        if is_assigned && !word.starts_with('-') { behind(word, 0, '=') } else { None }
    }

    /// The credential in a flag; one that stands in the next word is expected from now on.
    fn flag(&mut self, word: &str) -> Option<Range<usize>> {
        let dashes = word.bytes().take_while(|byte| *byte == b'-').count();
        if dashes == 0 {
            return None;
        }
        for (flag, form) in self.program.flags() {
            let Some(rest) = word.strip_prefix(flag) else { continue };
            let at = flag.len();
            match (form, rest.is_empty()) {
                (Form::Next | Form::Both, true) => self.next = Expected::Secret,
                (Form::NextButPort, true) => self.next = Expected::SecretButPort,
                (Form::User(separator), true) => self.next = Expected::User(*separator),
                (Form::Attached | Form::Both, false) if !flag.starts_with("--") => {
                    return Some(at..word.len());
                }
                (Form::User(separator), false) if !flag.starts_with("--") || rest.starts_with('=') => {
                    return behind(word, at, *separator);
                }
                _ => continue,
            }
            return None;
        }
        let name = &word[dashes..];
        let is_flag = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if name.len() > 1 && is_flag && names::is_credential(name) {
            self.next = Expected::Secret;
        }
        None
    }
}

/// `80:80`, `127.0.0.1:8080:80/tcp`: what a container is to be reached at.
fn is_port(word: &str) -> bool {
    let bare = word.trim_end_matches("/tcp").trim_end_matches("/udp");
    let is_of_it = bare.bytes().all(|byte| byte.is_ascii_digit() || b".:-".contains(&byte));
    is_of_it && (bare.contains(':') || bare.len() <= 5)
}

/// What `aws configure set` and `npm config set` are given a credential behind.
fn names_setting(word: &str) -> bool {
    ["aws_secret_access_key", "aws_session_token", "_authToken", "_password"].contains(&word)
}

/// `-c`, `-lc`, `-ec`: what follows is read by a shell, and no value of a flag.
fn is_script_flag(word: &str) -> bool {
    word.len() <= 5 && word.starts_with('-') && !word.starts_with("--") && word.ends_with('c')
}

/// What stands behind a separator at or after `from`.
fn behind(word: &str, from: usize, separator: char) -> Option<Range<usize>> {
    let at = word.get(from..)?.find(separator)? + from + separator.len_utf8();
    (at < word.len() && !value::is_public(&word[at..])).then_some(at..word.len())
}

/// The value in `--token=…`, `DB_PASSWORD=…`, `--from-literal=key=…`.
fn assigned(word: &str) -> Option<Range<usize>> {
    let at = word.find('=')?;
    let bare = word.trim_start_matches(['"', '\'', '-', '\\', '(', '`']);
    let name = bare.get(..at.checked_sub(word.len() - bare.len())?)?;
    if name.eq_ignore_ascii_case("from-literal") {
        return behind(word, at + 1, '=');
    }
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let value = word.get(at + 1..)?;
    (is_name && names::is_credential_variable(name) && !value::is_public(value.trim_matches(['"', '\''])))
        .then_some(at + 1..word.len())
}

/// The credentials in a command that is one text.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut words = Words::default();
    let mut at = 0;
    while let Some(start) =
        text[at..].find(|letter: char| !letter.is_whitespace()).map(|skipped| at + skipped)
    {
        let (expected, is_script) = (words.next, words.is_script);
        let end = start + text[start..].find(char::is_whitespace).unwrap_or(text.len() - start);
        at = end;
        if expected != Expected::Word && text[start..].starts_with(['"', '\'', '\\', '`']) {
            let inner = value::span(text, start, char::is_whitespace);
            at = inner.end.max(end);
            spans.extend(
                words.read(&text[inner.clone()]).map(|span| inner.start + span.start..inner.start + span.end),
            );
            continue;
        }
        let word = &text[start..end];
        let Some(span) = words.read(word) else { continue };
        // A value goes on until the quote is closed that it, or the word, opens.
        let mut value = value::span(text, start + span.start, char::is_whitespace);
        if !is_script && word.starts_with(['"', '\'']) {
            value.end = value::span(text, start, char::is_whitespace).end.max(value.start);
        }
        at = value.end.max(end);
        spans.push(trimmed(text, value));
    }
    spans
}

/// The span without the quotes behind it that belong to the text around it.
fn trimmed(text: &str, span: Range<usize>) -> Range<usize> {
    let value = &text[span.clone()];
    let kept = value.trim_end_matches(['"', '\'', '\\', '`', ';']).len();
    if kept == 0 { span } else { span.start..span.start + kept }
}

#[cfg(test)]
mod tests {
    use super::{Program, Words, secrets};

    #[test]
    fn credentials_in_commands_are_found() {
        for (command, expected) in [
            ("mysql -uroot -phunter2 db", &["hunter2"][..]),
            ("/usr/bin/mysqldump -p'hunter 2' db", &["hunter 2"]),
            ("sh -c \"mysql -phunter2\"", &["hunter2"]),
            ("mkdir -p /tmp/x", &[]),
            ("nmap -p8080 host", &[]),
            ("sshpass -p hunter2 ssh host", &["hunter2"]),
            ("sshpass -phunter2 ssh host", &["hunter2"]),
            ("curl -u admin:hunter2 https://host", &["hunter2"]),
            ("curl -u admin https://host", &[]),
            ("kubectl --token hunter2 get pods", &["hunter2"]),
            ("kubectl --token=hunter2 get pods", &["hunter2"]),
            ("kubectl --token-file /x get pods", &[]),
            ("DB_PASSWORD=hunter2 ./run --password \"hunter 3\"", &["hunter2", "hunter 3"]),
            ("env API_KEY='hunter 2' x", &["hunter 2"]),
            ("app --password --verbose", &[]),
            ("redis-cli -a hunter2 ping", &["hunter2"]),
            ("docker login -u x -p hunter2 host", &["hunter2"]),
            ("docker run -p 80:80 -p 127.0.0.1:8080:80/tcp nginx", &[]),
            ("vault kv put secret/x a=hunter2 b=hunter3", &["hunter2", "hunter3"]),
            ("aws configure set aws_secret_access_key hunter2", &["hunter2"]),
            ("openssl enc -k hunter2 -in x", &["hunter2"]),
            ("TOKEN=$(cat /var/run/secrets/token)", &[]),
            ("kubectl create secret generic x --from-literal=a=hunter2", &["hunter2"]),
            ("app --password=$(DB_PASSWORD) --token=/var/run/secrets/token", &[]),
            ("kube-apiserver --authorization-mode=Node,RBAC --use-service-account-credentials=true", &[]),
        ] {
            let found: Vec<_> = secrets(command).into_iter().map(|span| &command[span]).collect();
            assert_eq!(found, expected, "{command}");
        }
    }

    #[test]
    fn words_of_a_list_are_judged_by_those_before() {
        let mut words = Words::after(Program::of("/bin/mysql"));
        let found: Vec<_> =
            ["-u", "root", "-phunter2", "--password", "two words", "db"].map(|word| words.read(word)).into();
        assert_eq!(found, [None, None, Some(2..9), None, Some(0..9), None]);
    }
}
