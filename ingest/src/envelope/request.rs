//! What was requested of which object, as Cloud Logging names it.
//!
//! A method is `io.k8s.core.v1.pods.exec.create`: the group backwards, version, resource, perhaps
//! a subresource, verb. A resource name is `core/v1/namespaces/default/pods/web/exec`: a path
//! of the API server without its beginning. What is no resource has no version in
//! its method, `io.k8s.get`, and a path for a name.

/// How many parts at the end of a method are looked at: version, resource, subresource, verb.
const PARTS_MAX: usize = 4;

/// What was requested.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) verb: &'a str,
    /// Nothing for paths such as `/healthz`.
    pub(super) object: Option<Object<'a>>,
    /// The path of the API server, without what the client asked behind `?`.
    pub(super) path: Option<String>,
}

/// What it was requested of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Object<'a> {
    pub(super) resource: &'a str,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) subresource: Option<&'a str>,
    /// Nothing for the core group, and where it is not known.
    pub(super) group: Option<&'a str>,
    pub(super) version: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// Reads a method and the name of a resource; nothing if there is no verb.
    pub(super) fn of(method: &'a str, resource_name: &'a str) -> Option<Self> {
        let mut parts = [""; PARTS_MAX];
        method.rsplit('.').zip(&mut parts).for_each(|(part, slot)| *slot = part);
        let [verb, last, middle, first] = parts;
        if verb.is_empty() || !method.contains('.') {
            return None;
        }
        let (resource, subresource, version) = match (is_version(middle), is_version(first)) {
            (true, _) => (last, None, middle),
            (false, true) => (middle, Some(last), first),
            (false, false) => return Some(Self { verb, object: None, path: plain_path(resource_name) }),
        };
        let mut object = Object { resource, subresource, version: Some(version), ..Object::default() };
        let path = object.locate(resource_name, verb);
        Some(Self { verb, object: Some(object), path })
    }
}

impl<'a> Object<'a> {
    /// Reads where the object lies, and gives the path of the request; nothing if the name of the
    /// resource is about another one.
    fn locate(&mut self, resource_name: &'a str, verb: &str) -> Option<String> {
        let (group, rest) = resource_name.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        let mut parts = rest.splitn(5, '/').peekable();
        let mut namespace = None;
        if self.resource != "namespaces" && parts.peek() == Some(&"namespaces") {
            parts.next();
            namespace = parts.next();
        }
        if parts.next() != Some(self.resource) {
            return None;
        }
        self.group = Some(group).filter(|group| *group != "core");
        self.version = Some(version);
        self.name = parts.next().filter(|name| !name.is_empty());
        // The API server says so too.
        self.namespace = if self.resource == "namespaces" { self.name } else { namespace };
        self.subresource = self.subresource.or_else(|| parts.next()?.split('/').next());
        let root = if group == "core" { "api".to_owned() } else { format!("apis/{group}") };
        // A new object is posted to where its kind lies.
        let is_new = verb == "create" && self.subresource.is_none();
        let rest = match self.name {
            Some(name) if is_new => rest.strip_suffix(name)?.trim_end_matches('/'),
            _ => rest,
        };
        Some(format!("/{root}/{version}/{rest}"))
    }
}

fn plain_path(resource_name: &str) -> Option<String> {
    (!resource_name.is_empty()).then(|| format!("/{}", resource_name.trim_start_matches('/')))
}

/// `v1`, `v2beta1`, `v1alpha2`.
fn is_version(part: &str) -> bool {
    let Some(rest) = part.strip_prefix('v') else { return false };
    let rest = rest.trim_start_matches(|character: char| character.is_ascii_digit());
    let stage = rest.strip_prefix("alpha").or_else(|| rest.strip_prefix("beta")).unwrap_or(rest);
    rest.len() + 1 < part.len() && stage.chars().all(|character| character.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Object, Request};

    #[track_caller]
    fn check(method: &str, resource_name: &str, verb: &str, object: Object<'_>, path: &str) {
        let expected = Request { verb, object: Some(object), path: Some(path.to_owned()) };
        assert_eq!(Request::of(method, resource_name), Some(expected));
    }

    #[test]
    fn objects_are_found_with_group_namespace_and_subresource() {
        let core = Object { resource: "pods", version: Some("v1"), ..Object::default() };
        check(
            "io.k8s.core.v1.pods.exec.create",
            "core/v1/namespaces/shop/pods/web/exec",
            "create",
            Object { namespace: Some("shop"), name: Some("web"), subresource: Some("exec"), ..core },
            "/api/v1/namespaces/shop/pods/web/exec",
        );
        check(
            "io.k8s.authorization.rbac.v1.clusterrolebindings.create",
            "rbac.authorization.k8s.io/v1/clusterrolebindings/owners",
            "create",
            Object {
                resource: "clusterrolebindings",
                name: Some("owners"),
                group: Some("rbac.authorization.k8s.io"),
                version: Some("v1"),
                ..Object::default()
            },
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        );
        check(
            "io.k8s.apps.v1beta1.deployments.list",
            "apps/v1beta1/deployments",
            "list",
            Object {
                resource: "deployments",
                group: Some("apps"),
                version: Some("v1beta1"),
                ..Object::default()
            },
            "/apis/apps/v1beta1/deployments",
        );
        check(
            "io.k8s.core.v1.nodes.proxy.get",
            "core/v1/nodes/worker-1/proxy/run/shop/web",
            "get",
            Object {
                resource: "nodes",
                name: Some("worker-1"),
                subresource: Some("proxy"),
                version: Some("v1"),
                ..Object::default()
            },
            "/api/v1/nodes/worker-1/proxy/run/shop/web",
        );
    }

    #[test]
    fn a_path_says_what_a_method_leaves_out() {
        check(
            "io.k8s.core.v1.pods.get",
            "core/v1/namespaces/shop/pods/web/proxy/a/b",
            "get",
            Object {
                resource: "pods",
                namespace: Some("shop"),
                name: Some("web"),
                subresource: Some("proxy"),
                version: Some("v1"),
                ..Object::default()
            },
            "/api/v1/namespaces/shop/pods/web/proxy/a/b",
        );
    }

    #[test]
    fn a_namespace_lies_in_itself() {
        check(
            "io.k8s.core.v1.namespaces.delete",
            "core/v1/namespaces/shop",
            "delete",
            Object {
                resource: "namespaces",
                namespace: Some("shop"),
                name: Some("shop"),
                version: Some("v1"),
                ..Object::default()
            },
            "/api/v1/namespaces/shop",
        );
    }

    #[test]
    fn paths_are_no_objects() {
        let request = Request::of("io.k8s.get", "readyz").expect("a verb");
        assert_eq!(request, Request { verb: "get", object: None, path: Some("/readyz".into()) });
    }

    #[test]
    fn a_name_of_another_resource_is_not_believed() {
        let request =
            Request::of("io.k8s.core.v1.secrets.get", "core/v1/namespaces/shop/pods/web").expect("a verb");
        let object = Object { resource: "secrets", version: Some("v1"), ..Object::default() };
        assert_eq!(request, Request { verb: "get", object: Some(object), path: None });
    }

    #[test]
    fn without_a_verb_there_is_no_request() {
        for method in ["", ".", "get", "io.k8s."] {
            assert_eq!(Request::of(method, "core/v1/pods"), None, "{method}");
        }
    }
}
