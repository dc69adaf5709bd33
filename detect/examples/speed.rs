use std::hint::black_box;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let path = args.get(1).cloned().unwrap_or("/tmp/1.36.jsonl".into());
    let rounds: usize = args.get(2).map_or(20, |x| x.parse().unwrap());
    let what = args.get(3).cloned().unwrap_or("parse".into());
    let bytes = std::fs::read(path).unwrap();
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    let batches: Vec<&[&[u8]]> = lines.chunks(40).collect();
    let mut least = vec![f64::MAX; batches.len()];
    for _ in 0..rounds {
        for (lines, least) in batches.iter().zip(&mut least) {
            let start = std::time::Instant::now();
            one(&what, lines);
            *least = least.min(start.elapsed().as_secs_f64());
        }
    }
    let best: f64 = least.iter().sum();
    let count: usize = lines.iter().map(|l| l.len()).sum();
    println!(
        "{what}: {:.1} MB/s, {:.0} ns/event",
        count as f64 / best / 1e6,
        best * 1e9 / lines.len() as f64
    );
}
fn walk(json: detect::json::Json<'_>) -> usize {
    json.entries().map(|(_, v)| 1 + walk(v)).sum::<usize>()
        + json.elements().map(|v| 1 + walk(v)).sum::<usize>()
}

#[inline(never)]
fn one(what: &str, lines: &[&[u8]]) {
    match what {
        "parse" => {
            for line in lines {
                let _ = black_box(detect::Event::parse(black_box(line)));
            }
        }
        "value" => {
            for line in lines {
                let _ = black_box(detect::scan::value_end(black_box(line), 0));
            }
        }
        "entries" => {
            for line in lines {
                let event = detect::Event::parse(line).unwrap();
                black_box(walk(event.json()));
            }
        }
        "get" => {
            for line in lines {
                let event = detect::Event::parse(line).unwrap();
                use detect::event::Key;
                black_box(event.str_at(Key::User, "username"));
                black_box(event.str_at(Key::ObjectRef, "resource"));
                black_box(event.str_at(Key::ObjectRef, "namespace"));
                black_box(event.at(Key::ResponseStatus, &["code"]));
                black_box(event.at(Key::Annotations, &["authorization.k8s.io/decision"]));
                black_box(event.at(Key::RequestObject, &["spec", "template", "spec"]));
            }
        }
        "none" => {
            for line in lines {
                black_box(line);
            }
        }
        _ => panic!(),
    }
}
