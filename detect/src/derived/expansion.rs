//! References to variables in commands, `$(NAME)`, as the kubelet replaces them before a container starts.
//!
//! **Invariant:** what comes out of a container has at most [`GROWTH_BYTES_MAX`] bytes more than its command and its
//! variables have, however references lead to references.

use std::collections::HashMap;

use super::written::Tree;
use crate::field::Sight;

/// How much longer than they are written all variables of a container may become, and how much longer a command than
/// it and they are: values are short, and most are used once.
const GROWTH_BYTES_MAX: usize = 16 * 1024;

/// Whether there may be a reference in a text.
pub(super) fn may_refer(text: &str) -> bool {
    text.contains("$(")
}

/// What variables a container is given, as far as the manifest says.
pub(super) struct Variables {
    values: HashMap<String, String>,
    /// How long they are as written.
    bytes: usize,
    sight: Sight,
}

impl Variables {
    /// Reads the list `env` of a container. What comes from elsewhere stays a reference.
    pub(super) fn of(container: Tree<'_, '_>) -> Self {
        let mut variables = Self { values: HashMap::new(), bytes: 0, sight: Sight::Clear };
        let Some(list) = container.get("env") else { return variables };
        variables.sight = list.sight();
        let mut expanded_bytes = 0;
        for variable in list.elements() {
            let [name, value] = variable.get_all(["name", "value"]).map(|part| part?.value()?.text());
            let (Some(name), Some(value)) = (name, value) else { continue };
            variables.bytes += value.len();
            let room = variables.bytes + GROWTH_BYTES_MAX - expanded_bytes;
            // Later ones may refer to earlier ones.
            let Some(expanded) = variables.replaced(&value, room) else {
                variables.sight = Sight::Hidden;
                continue;
            };
            expanded_bytes += expanded.len();
            variables.values.insert(name.into_owned(), expanded);
        }
        variables
    }

    /// Whether all that there is can be told.
    pub(super) fn sight(&self) -> Sight {
        self.sight
    }

    /// A command with its references replaced, unless it would become too long.
    pub(super) fn expanded(&self, command: &str) -> Option<String> {
        self.replaced(command, command.len() + self.bytes + GROWTH_BYTES_MAX)
    }

    /// A text of at most `bytes_max` with its references replaced. `$$` stands for `$`, and what refers to nothing
    /// that is known stays.
    fn replaced(&self, text: &str, bytes_max: usize) -> Option<String> {
        let mut expanded = String::new();
        let (mut rest, mut may_close) = (text, true);
        while let Some((before, behind)) = rest.split_once('$') {
            expanded.push_str(before);
            rest = behind;
            let name = rest.strip_prefix('(').filter(|_| may_close).map(|name| name.split_once(')'));
            // What is not closed here is not closed further on.
            may_close &= name != Some(None);
            if let Some(Some((name, behind))) = name {
                match self.values.get(name) {
                    Some(value) => expanded.push_str(value),
                    None => expanded.extend(["$(", name, ")"]),
                }
                rest = behind;
            } else {
                expanded.push('$');
                rest = rest.strip_prefix('$').unwrap_or(rest);
            }
            if expanded.len() > bytes_max {
                return None;
            }
        }
        expanded.push_str(rest);
        (expanded.len() <= bytes_max).then_some(expanded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;
    use crate::kept::Node;

    #[test]
    fn references_are_replaced_as_the_kubelet_does() {
        let values = [("A", "one"), ("B", "$(A)"), ("", "empty")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let variables = Variables { values, bytes: 0, sight: Sight::Clear };
        for (text, expected) in [
            ("sh -c $(A)", "sh -c one"),
            ("$(A)$(A)-$(A)", "oneone-one"),
            ("$(B)", "$(A)"),
            ("$$(A) $$$(A) $$$$", "$(A) $one $$"),
            ("$(C) $(A", "$(C) $(A"),
            ("$( $(A) $", "$( $(A) $"),
            ("$A ${A} $", "$A ${A} $"),
            ("$()", "empty"),
            ("(A)) Grüße", "(A)) Grüße"),
        ] {
            assert_eq!(variables.expanded(text).as_deref(), Some(expected), "{text}");
        }
    }

    fn of(variables: &[(&str, String)]) -> Variables {
        let entry = |(name, value): &(&str, String)| serde_json::json!({ "name": name, "value": value });
        let container =
            serde_json::json!({ "env": variables.iter().map(entry).collect::<Vec<_>>() }).to_string();
        Variables::of(Tree::of(Node::Loose(Json::new(container.as_bytes()))))
    }

    #[test]
    fn what_grows_without_end_is_given_up() {
        let long = of(&[("A", "x".repeat(100_000)), ("B", "-$(A)".to_owned())]);
        assert_eq!(long.sight(), Sight::Hidden, "one variable twice is too much");
        assert_eq!(long.expanded("$(A) $(B)").map(|text| text.len()), Some(100_005));
        assert_eq!(long.expanded("$(A)$(A)"), None);
        let doubled = |number: usize| {
            (["B", "C", "D"][number % 3], ["$(D)$(D)", "$(B)$(B)", "$(C)$(C)"][number % 3].to_owned())
        };
        let without_end: Vec<_> =
            std::iter::once(("D", "x".to_owned())).chain((0..99).map(doubled)).collect();
        let variables = of(&without_end);
        assert_eq!(variables.sight(), Sight::Hidden);
        assert!(variables.values.values().map(String::len).sum::<usize>() < 2 * GROWTH_BYTES_MAX);
        // Nor does it take long.
        assert_eq!(long.expanded(&"$(".repeat(5_000_000)).map(|text| text.len()), Some(10_000_000));
    }
}
