#[path = "../tests/reading/mod.rs"]
mod reading;
fn main() {
    let mut files: Vec<_> = std::fs::read_dir(std::env::args().nth(1).unwrap()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for p in files {
        let n = p.file_name().unwrap().to_string_lossy().into_owned();
        if n == "expected.txt" || n == ".gitattributes" { continue }
        println!("== {n}");
        for l in reading::Outcome::read_with(ingest::decode::Decoded::new(std::fs::File::open(&p).unwrap()).unwrap(), ingest::EVENT_BYTES_MAX, usize::MAX).lines() { println!("{l}"); }
    }
}
