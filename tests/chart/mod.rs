//! What the Helm chart makes of its values, as far as that can be known without a cluster.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Objects that the chart makes.
struct Rendered(Vec<Value>);

/// Renders with the values of a file and some more; nothing where helm is not installed.
fn template(values: &str, more: &[&str]) -> Option<Output> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let helm = std::env::var_os("HELM").unwrap_or_else(|| OsString::from("helm"));
    let chart = root.join("deploy/helm/masthead");
    let mut command = Command::new(helm);
    command.args(["template", "masthead", "--namespace", "security", "--kube-version", "1.31.0", "--values"]);
    command.arg(root.join("tests/chart").join(values)).arg(chart).args(more).output().ok()
}

/// What that gives, if it is not refused.
fn rendered(values: &str) -> Option<Rendered> {
    let output = template(values, &[])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = text.split("\n---\n").filter(|object| object.contains("kind:"));
    Some(Rendered(objects.map(|object| serde_saphyr::from_str(object).unwrap()).collect()))
}

impl Rendered {
    fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let kind = kind.to_owned();
        self.0.iter().filter(move |object| object["kind"] == *kind)
    }

    fn pod(&self) -> &Value {
        &self.of("StatefulSet").next().unwrap()["spec"]["template"]
    }

    /// Everything that selects the pod finds it.
    fn check_selectors(&self) {
        let labels = &self.pod()["metadata"]["labels"];
        let set = self.of("StatefulSet").map(|set| &set["spec"]["selector"]["matchLabels"]);
        let services = self.of("Service").map(|service| &service["spec"]["selector"]);
        let policies = self.of("NetworkPolicy").map(|policy| &policy["spec"]["podSelector"]["matchLabels"]);
        let budgets = self.of("PodDisruptionBudget").map(|budget| &budget["spec"]["selector"]["matchLabels"]);
        for selector in set.chain(services).chain(policies).chain(budgets) {
            assert!(selector.as_object().is_some_and(|selector| !selector.is_empty()));
            for (name, value) in selector.as_object().unwrap() {
                assert_eq!(&labels[name], value, "{name}");
            }
        }
        for monitor in self.of("ServiceMonitor") {
            let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
            let fits = |service: &&Value| {
                wanted.iter().all(|(name, value)| &service["metadata"]["labels"][name] == value)
            };
            assert_eq!(self.of("Service").filter(fits).count(), 1);
        }
    }

    /// Every port that is named is one of the container, every mount has its volume.
    fn check_pod(&self) {
        let container = &self.pod()["spec"]["containers"][0];
        let names = |list: &Value, key: &str| -> BTreeSet<String> {
            let list = list.as_array().into_iter().flatten();
            list.map(|item| item[key].as_str().unwrap().to_owned()).collect()
        };
        let ports = names(&container["ports"], "name");
        let mut asked = BTreeSet::new();
        for service in self.of("Service") {
            asked.extend(names(&service["spec"]["ports"], "targetPort"));
        }
        for policy in self.of("NetworkPolicy") {
            let rules = policy["spec"]["ingress"].as_array().unwrap();
            for rule in rules {
                asked.extend(names(&rule["ports"], "port"));
            }
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            asked.insert(container[probe]["httpGet"]["port"].as_str().unwrap().to_owned());
        }
        assert_eq!(asked, ports);
        let mut volumes = names(&self.pod()["spec"]["volumes"], "name");
        volumes.insert("state".to_owned());
        assert_eq!(names(&container["volumeMounts"], "name"), volumes);
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(self.pod()["spec"]["automountServiceAccountToken"], false);
    }

    /// Masthead itself accepts the configuration, with files in the place of what is mounted.
    fn check_config(&self) {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        let made = rcgen::generate_simple_self_signed(["masthead.example.com".to_owned()]).unwrap();
        put("tls/tls.crt", &made.cert.pem());
        put("tls/tls.key", &made.signing_key.serialize_pem());
        put("client-ca/ca.crt", &made.cert.pem());
        put("tokens/prod", &"0123456789abcdef".repeat(4));
        put("secrets/siem/token", "secret");
        for (suffix, to) in [("rules", "rules"), ("lists", "lists"), ("", "config")] {
            let name = ["masthead", suffix].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
            let name = name.join("-");
            for map in self.of("ConfigMap").filter(|map| map["metadata"]["name"] == *name) {
                for (file, content) in map["data"].as_object().unwrap() {
                    let here = format!("{}/", folder.path().display());
                    let content = content.as_str().unwrap().replace("/etc/masthead/", &here);
                    put(
                        &format!("{to}/{file}"),
                        &content.replace("/var/lib/masthead", &format!("{here}state")),
                    );
                }
            }
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_masthead"));
        let output =
            command.args(["check", "--config"]).arg(folder.path().join("config/masthead.yml")).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn skipped() {
    let mut out = std::io::stderr().lock();
    let _ = std::io::Write::write_all(&mut out, b"skipped: no `helm` in the path, nor in `HELM`\n");
}

/// The chart asks for the image that the commands build.
#[test]
fn the_image_has_the_version_of_the_chart() {
    let version = env!("CARGO_PKG_VERSION");
    let image = format!("masthead:{version}");
    for (path, said) in [
        ("deploy/helm/masthead/Chart.yaml", &format!("appVersion: {version}\n")),
        ("deploy/Dockerfile", &format!("-t {image} .")),
        ("deploy/README.md", &format!("/{image} .")),
        ("deploy/README.md", &format!("docker push YOUR-REGISTRY/{image}\n")),
    ] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        assert!(text.contains(said), "{path} does not say `{said}`");
    }
}

/// What would crash again and again is refused where somebody reads it.
#[test]
fn the_chart_refuses_what_would_not_start() {
    let refused = [
        ("config.sources.clusters.tls=null", "would take events from anybody"),
        ("config.sources.clusters.listen=127.0.0.1:9880", "listens on loopback"),
        ("tls.existingSecret=", "set tls.existingSecret"),
        ("clientCa.existingSecret=", "set clientCa.existingSecret"),
        ("config.state_dir=/elsewhere", "state_dir"),
    ];
    for (value, reason) in refused {
        let Some(output) = template("least.yml", &["--set", value]) else { return skipped() };
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(reason), "{value}: {told}");
    }
}

#[test]
fn the_chart_fits_together_with_the_least_and_with_every_value() {
    for values in ["least.yml", "full.yml"] {
        let Some(rendered) = rendered(values) else { return skipped() };
        rendered.check_selectors();
        rendered.check_pod();
        rendered.check_config();
    }
}
