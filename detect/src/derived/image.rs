//! Parses image references as container runtimes do.

/// An image reference with everything that is implied spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// Host and port, lower-cased; `docker.io` where none is written.
    pub registry: String,
    /// Path within the registry, lower-cased; `library/` is added for Docker's own images.
    pub repository: String,
    /// The tag; `latest` where neither tag nor digest is written.
    pub tag: Option<String>,
    /// The digest with its algorithm.
    pub digest: Option<String>,
}

impl ImageReference {
    /// Reads a reference; any text gives something, as a rule must not miss an odd one.
    pub fn parse(reference: &str) -> Self {
        let reference = reference.trim();
        let (name, digest) = match reference.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (reference, None),
        };
        // A colon after the last slash begins a tag, one before it a port.
        let path_start = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[path_start..].find(':') {
            Some(colon) => (&name[..path_start + colon], Some(name[path_start + colon + 1..].to_owned())),
            None => (name, None),
        };
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        let (registry, repository) = split_registry(&name.to_lowercase());
        Self { registry, repository, tag, digest }
    }
}

/// The first segment is a registry when it could be a host: it has a dot or a port, or is `localhost`.
fn split_registry(name: &str) -> (String, String) {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", name),
    };
    let registry = match registry {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    };
    if registry == "docker.io" && !repository.contains('/') {
        return (registry.to_owned(), format!("library/{repository}"));
    }
    (registry.to_owned(), repository.to_owned())
}

#[cfg(test)]
mod tests {
    use super::ImageReference;

    #[test]
    fn what_is_implied_is_spelled_out() {
        check("nginx", "docker.io", "library/nginx", Some("latest"), None);
        check("nginx:1.25", "docker.io", "library/nginx", Some("1.25"), None);
        check("kannix/monero-miner", "docker.io", "kannix/monero-miner", Some("latest"), None);
        check("index.docker.io/library/nginx", "docker.io", "library/nginx", Some("latest"), None);
        check("docker.io/xmrig:6", "docker.io", "library/xmrig", Some("6"), None);
    }

    #[test]
    fn ports_tags_and_digests_are_told_apart() {
        check("registry:5000/team/app", "registry:5000", "team/app", Some("latest"), None);
        check("Registry.Corp:5000/Team/App:v1", "registry.corp:5000", "team/app", Some("v1"), None);
        check("quay.io/a/b/c@sha256:ab", "quay.io", "a/b/c", None, Some("sha256:ab"));
        check("quay.io/a/b:v1@sha256:ab", "quay.io", "a/b", Some("v1"), Some("sha256:ab"));
        check("localhost/app", "localhost", "app", Some("latest"), None);
    }

    #[test]
    fn nonsense_gives_something() {
        for text in ["", "@", ":", "/", "a:b:c", "////", "é@ü:ö", "a@b@c"] {
            let _ = ImageReference::parse(text);
        }
    }

    #[track_caller]
    fn check(text: &str, registry: &str, repository: &str, tag: Option<&str>, digest: Option<&str>) {
        let expected = ImageReference {
            registry: registry.into(),
            repository: repository.into(),
            tag: tag.map(Into::into),
            digest: digest.map(Into::into),
        };
        assert_eq!(ImageReference::parse(text), expected);
    }
}
