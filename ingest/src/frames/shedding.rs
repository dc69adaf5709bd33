//! Reads an event that is too long without what makes it long.
//!
//! `requestObject` and `responseObject` are left out and the annotation is added by which the
//! API server itself marks an event that it had to truncate, so that whoever judges the event
//! knows what it cannot know.
//!
//! **Invariant:** what is kept is bounded; nothing but the two objects is left out, and an event
//! that is still too long without them is not read at all.

/// The annotation of the API server's own truncation.
const MARK: &[u8] = br#""audit.k8s.io/truncated":"true""#;

/// An event of which only a part is kept while its bytes pass by.
pub(super) struct Shedding {
    kept: Vec<u8>,
    bytes_max: usize,
    depth: u64,
    place: Place,
    expects_key: bool,
    member: Member,
    /// Where in `kept` the member, with the comma before it, and its key begin.
    member_start: usize,
    key_start: usize,
    /// True if the annotations seen last are marked.
    is_marked: bool,
}

/// Where the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    String,
    /// Inside a string, behind a backslash.
    Escaped,
}

/// What a member of the event is to us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Kept,
    Shed,
    Annotations,
}

impl Member {
    /// Keys that are written with escapes are no longer themselves; nobody writes these so.
    fn of(key: &[u8]) -> Self {
        match key {
            br#""requestObject""# | br#""responseObject""# => Self::Shed,
            br#""annotations""# => Self::Annotations,
            _ => Self::Kept,
        }
    }
}

impl Shedding {
    /// Keeps at most `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            kept: Vec::new(),
            bytes_max,
            depth: 0,
            place: Place::Outside,
            expects_key: false,
            member: Member::Kept,
            member_start: 0,
            key_start: 0,
            is_marked: false,
        }
    }

    /// Goes on over `bytes`, which end with the event at the latest.
    pub(super) fn step(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match self.place {
                Place::Outside => self.step_outside(byte),
                Place::String => self.step_in_string(byte),
                Place::Escaped => {
                    self.place = Place::String;
                    self.keep(byte);
                }
            }
        }
    }

    /// What was kept, if that is all but what was shed.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        (self.kept.len() <= self.bytes_max).then_some(self.kept)
    }

    fn step_in_string(&mut self, byte: u8) {
        self.keep(byte);
        match byte {
            b'\\' => self.place = Place::Escaped,
            b'"' => {
                self.place = Place::Outside;
                if self.depth == 1 && self.expects_key {
                    self.expects_key = false;
                    self.member = self.kept.get(self.key_start..).map_or(Member::Kept, Member::of);
                    // Of annotations that come twice only the last ones count.
                    self.is_marked &= self.member != Member::Annotations;
                }
            }
            _ => {}
        }
    }

    fn step_outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.place = Place::String;
                if self.depth == 1 && self.expects_key {
                    self.key_start = self.kept.len();
                }
            }
            b'{' | b'[' => return self.open(byte),
            b'}' | b']' => return self.close(byte),
            b',' if self.depth == 1 => {
                self.end_member();
                self.begin_member();
                if self.is_first() {
                    return;
                }
            }
            _ => {}
        }
        self.keep(byte);
    }

    fn open(&mut self, bracket: u8) {
        self.keep(bracket);
        self.depth += 1;
        if self.depth == 1 {
            self.begin_member();
        }
    }

    fn close(&mut self, bracket: u8) {
        match self.depth {
            2 if self.member == Member::Annotations && bracket == b'}' => self.mark(),
            1 => {
                self.end_member();
                if !self.is_marked {
                    self.separate();
                    self.keep_all(br#""annotations":{"#);
                    self.keep_all(MARK);
                    self.keep(b'}');
                }
            }
            _ => {}
        }
        self.depth = self.depth.saturating_sub(1);
        self.keep(bracket);
    }

    fn begin_member(&mut self) {
        self.expects_key = true;
        self.member_start = self.kept.len();
    }

    fn end_member(&mut self) {
        if self.member == Member::Shed {
            self.kept.truncate(self.member_start);
        }
        self.member = Member::Kept;
    }

    /// Adds the mark behind all annotations: the last one of a name counts.
    fn mark(&mut self) {
        self.separate();
        self.keep_all(MARK);
        self.is_marked = true;
    }

    fn separate(&mut self) {
        if !self.is_first() {
            self.keep(b',');
        }
    }

    /// True if nothing stands before in the innermost object.
    fn is_first(&self) -> bool {
        self.kept.trim_ascii_end().last() == Some(&b'{')
    }

    fn keep_all(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.keep(byte);
        }
    }

    /// One byte more than may be kept tells that it is too much.
    fn keep(&mut self, byte: u8) {
        let is_value_shed = self.member == Member::Shed && !self.expects_key;
        if !is_value_shed && self.kept.len() <= self.bytes_max {
            self.kept.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use detect::event::Key;

    use super::super::{Frame, Frames};

    const LIMIT: usize = 300;

    /// The events of a text, and the names of what is malformed, with lines and offsets.
    fn read(text: &str) -> Vec<(u64, u64, String)> {
        let mut frames = Frames::with_event_bytes_max(text.as_bytes(), LIMIT).shedding();
        let mut found = Vec::new();
        while let Some(frame) = frames.next() {
            let (offset, text) = match frame {
                Frame::Event { event, offset } => (offset, String::from_utf8(event.raw().to_vec()).unwrap()),
                Frame::Malformed(malformed) => (malformed.offset, malformed.kind.name().to_owned()),
            };
            found.push((frames.line(), offset, text));
        }
        found
    }

    #[track_caller]
    fn check(event: &str, expected: &str) {
        let found = read(event);
        assert_eq!(found, [(1, 0, expected.to_owned())], "{event}");
    }

    fn long() -> String {
        format!(r#"{{"a":["}}]\"{{",{{"requestObject":1}}],"b":"{}"}}"#, "x".repeat(LIMIT * 3))
    }

    #[test]
    fn what_makes_an_event_long_is_left_out() {
        let long = long();
        let marked = r#""annotations":{"audit.k8s.io/truncated":"true"}"#;
        let head = r#"{"auditID":"1","stage":"ResponseComplete","verb":"create""#;
        check(&format!(r#"{head},"requestObject":{long}}}"#), &format!("{head},{marked}}}"));
        check(
            &format!(r#"{head},"requestObject":{long},"responseObject":{long},"level":"x"}}"#),
            &format!(r#"{head},"level":"x",{marked}}}"#),
        );
        let rest = &head[1..];
        check(&format!(r#"{{"responseObject":{long},{rest}}}"#), &format!("{{{rest},{marked}}}"));
        check(&format!(r#"{{"responseObject" : {long} , {rest} }}"#), &format!("{{ {rest} ,{marked}}}"));
    }

    #[test]
    fn annotations_stay_and_the_mark_comes_last() {
        let long = long();
        let head = r#"{"auditID":"1","stage":"ResponseComplete","verb":"create""#;
        let mark = r#""audit.k8s.io/truncated":"true""#;
        for (annotations, expected) in [
            (r#""annotations":{"a":"b"}"#, format!(r#""annotations":{{"a":"b",{mark}}}"#)),
            (r#""annotations":{}"#, format!(r#""annotations":{{{mark}}}"#)),
            (r#""annotations":null"#, format!(r#""annotations":null,"annotations":{{{mark}}}"#)),
            (
                r#""annotations":{"a":"b"},"annotations":7"#,
                format!(r#""annotations":{{"a":"b",{mark}}},"annotations":7,"annotations":{{{mark}}}"#),
            ),
        ] {
            check(
                &format!("{head},{annotations},\"requestObject\":{long}}}"),
                &format!("{head},{expected}}}"),
            );
        }
    }

    #[test]
    fn the_event_can_be_read_and_reading_goes_on_behind_it() {
        let long = long();
        let short = r#"{"auditID":"2","stage":"ResponseComplete","verb":"get"}"#;
        let event = format!(
            "{{\"auditID\":\"1\",\n\"stage\":\"ResponseComplete\",\"verb\":\"create\",\"requestObject\":{long}}}"
        );
        let list = format!("\n{{\"kind\":\"EventList\",\"items\":[{short},\n{event},{short}]}}\n{short}\n");
        let found = read(&list);
        let lines: Vec<u64> = found.iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
        assert_eq!(found[1].1, list.find("{\"auditID\":\"1\"").unwrap() as u64);
        assert!([0, 2, 3].iter().all(|at| found[*at].2 == short), "{found:?}");
        let mut frames = Frames::with_event_bytes_max(list.as_bytes(), LIMIT).shedding();
        frames.next();
        let Some(Frame::Event { event, .. }) = frames.next() else { panic!("no event") };
        assert_eq!(event.str(Key::Verb).as_deref(), Some("create"));
        assert!(event.at(Key::Annotations, &["audit.k8s.io/truncated"]).is_some());
        assert_eq!(frames.counts().events, 2);
    }

    #[test]
    fn what_is_long_otherwise_stays_malformed() {
        let long = long();
        let head = r#"{"auditID":"1","stage":"ResponseComplete","verb":"create""#;
        for text in [
            format!(r#"{head},"user":{long},"requestObject":{long}}}"#),
            format!(r#"{head},"request\u004fbject":{long}}}"#),
            format!(r#"{{"requestObject":{long}}}"#),
            format!(r#"{head},"requestObject":{long}"#),
        ] {
            assert_eq!(read(&text)[0].2, "too_long", "{text}");
        }
        let mut frames = Frames::with_event_bytes_max(long.as_bytes(), LIMIT);
        assert!(matches!(frames.next(), Some(Frame::Malformed(_))));
    }
}
