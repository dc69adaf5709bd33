//! Image references as container runtimes read them.

/// The registry that a reference without one means.
const DEFAULT_REGISTRY: &str = "docker.io";

/// An image reference in its parts, with what it implies spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Host, and port if one is given; lower case.
    pub(crate) registry: String,
    /// Path within the registry; lower case.
    pub(crate) repository: String,
    /// `latest` where there is neither tag nor digest.
    pub(crate) tag: Option<String>,
    /// Algorithm and sum.
    pub(crate) digest: Option<String>,
}

impl Image {
    /// Takes any text; one that no runtime accepts gives parts that mean nothing.
    pub(crate) fn parse(reference: &str) -> Self {
        let (name, digest) = match reference.trim().split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_ascii_lowercase())),
            None => (reference.trim(), None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (name, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (registry(host), path),
            _ => (DEFAULT_REGISTRY.to_owned(), name),
        };
        let mut repository = repository.to_lowercase();
        if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            repository.insert_str(0, "library/");
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Self { registry, repository, tag, digest }
    }

    /// Registry and repository.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

/// True when what stands before the first slash is a host rather than part of a path.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.contains(char::is_uppercase)
}

fn registry(host: &str) -> String {
    let host = host.to_lowercase();
    match host.strip_suffix(":443").unwrap_or(&host) {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY.to_owned(),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::Image;

    #[test]
    fn references_are_read_as_runtimes_read_them() {
        check("nginx", "docker.io library/nginx latest -");
        check("nginx:1.27", "docker.io library/nginx 1.27 -");
        check("team/app", "docker.io team/app latest -");
        check("docker.io/nginx", "docker.io library/nginx latest -");
        check("index.docker.io/library/nginx:1", "docker.io library/nginx 1 -");
        check("registry-1.docker.io/team/app", "docker.io team/app latest -");
        check("REGISTRY.example.com/Team/App:V1", "registry.example.com team/app V1 -");
        check("registry.example.com:5000/a/b/c", "registry.example.com:5000 a/b/c latest -");
        check("localhost/app", "localhost app latest -");
        check("app@sha256:ABC", "docker.io library/app - sha256:abc");
        check("r.io:80/app:1@sha256:abc", "r.io:80 app 1 sha256:abc");
        check("", "docker.io library/ latest -");
        check("@", "docker.io library/ - ");
        check(":/@:/", ":  - :/");
    }

    #[track_caller]
    fn check(reference: &str, expected: &str) {
        let Image { registry, repository, tag, digest } = Image::parse(reference);
        let [tag, digest] = [tag, digest].map(|part| part.unwrap_or("-".to_owned()));
        assert_eq!(format!("{registry} {repository} {tag} {digest}"), expected);
    }
}
