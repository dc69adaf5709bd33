fn main() {
    for p in std::env::args().skip(1) {
        let t = std::fs::read_to_string(&p).unwrap();
        let r = detect::sigma::parse(std::path::Path::new(&p), &t);
        let names = detect::sigma::FieldNames {
            is_known: &|n| {
                [
                    "outcome",
                    "actor",
                    "source",
                    "client",
                    "exec",
                    "object",
                    "pod",
                    "container",
                    "rbac",
                    "csr",
                    "dry_run",
                ]
                .contains(&n.split('.').next().unwrap())
            },
            candidates: &["outcome", "actor.name", "actor.kind", "container.image"],
        };
        let mut all = r.problems.clone();
        for rule in &r.rules {
            all.extend(detect::sigma::lint(rule, &r.value_places, names));
            if std::env::var("SHOW").is_ok() {
                println!("{:#?}", rule.condition)
            }
        }
        println!("== {p}: {} rules", r.rules.len());
        let lines: Vec<&str> = t.trim_start_matches('\u{feff}').split('\n').collect();
        for e in all {
            println!(
                "{e} [{} {:?}] w={} help={:?} label={:?}",
                e.code(),
                e.severity(),
                e.place.width,
                e.help(),
                e.label
            );
            if let Some(l) = lines.get(e.place.line as usize - 1) {
                println!(
                    "   {l}\n   {}{}",
                    " ".repeat(e.place.column as usize - 1),
                    "^".repeat(e.place.width as usize)
                );
            }
        }
    }
}
