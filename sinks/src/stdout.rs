//! Alerts on the standard output, for people or for the next program.
//!
//! Written by a thread of its own: whoever reads may be slow or gone for good, which holds up
//! neither other sinks nor the end of the process.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::delivery::{Delivery, Destination, Trouble};
use crate::outbox::Outgoing;
use crate::{Palette, Text};

/// How alerts look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// A block of text each.
    Text {
        /// The colours.
        palette: Palette,
        /// The width of the terminal in columns, if it is known.
        width: Option<usize>,
    },
}

/// The sink `stdout`.
pub struct Stdout {
    format: Format,
    writer: Option<Box<dyn Write + Send>>,
    chunks: Option<mpsc::Sender<Chunk>>,
}

struct Chunk {
    bytes: Vec<u8>,
    answer: oneshot::Sender<io::Result<()>>,
}

impl Stdout {
    /// Writes to the standard output.
    pub fn new(format: Format) -> Self {
        Self::to(io::stdout(), format)
    }

    /// Writes to any writer.
    pub fn to(writer: impl Write + Send + 'static, format: Format) -> Self {
        Self { format, writer: Some(Box::new(writer)), chunks: None }
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Trouble> {
        let gone = || Trouble::temporary("the thread that writes is gone");
        let (answer, written) = oneshot::channel();
        let chunks = self.chunks.as_ref().ok_or_else(gone)?;
        chunks.send(Chunk { bytes, answer }).await.map_err(|_| gone())?;
        let written = written.await.map_err(|_| gone())?;
        written.map_err(|error| Trouble::of(&error))
    }

    fn bytes_of(&self, alerts: &[Arc<Outgoing>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for alert in alerts {
            let written = match self.format {
                Format::Jsonl => writeln!(bytes, "{}", alert.json),
                Format::Text { palette, width } => {
                    Text::new(&mut bytes, palette, width).deliver_json(&alert.json)
                }
            };
            // What is no alert that can be shown to people is still better than nothing.
            if written.is_err() {
                bytes.extend_from_slice(alert.json.as_bytes());
                bytes.push(b'\n');
            }
        }
        bytes
    }
}

impl Destination for Stdout {
    async fn open(&mut self, _memo: Option<&str>) -> Result<(), Trouble> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let (sender, receiver) = mpsc::channel(1);
        let thread = thread::Builder::new().name("stdout".to_owned());
        thread.spawn(move || write_all(writer, receiver)).map_err(|error| Trouble::of(&error))?;
        self.chunks = Some(sender);
        Ok(())
    }

    async fn deliver(&mut self, alerts: &[Arc<Outgoing>]) -> Delivery {
        let bytes = self.bytes_of(alerts);
        match self.write(bytes).await {
            Ok(()) => Delivery::of(alerts.len()),
            Err(trouble) => Delivery::until(0, trouble),
        }
    }
}

fn write_all(mut writer: Box<dyn Write + Send>, mut chunks: mpsc::Receiver<Chunk>) {
    while let Some(chunk) = chunks.blocking_recv() {
        let written = writer.write_all(&chunk.bytes).and_then(|()| writer.flush());
        // Nobody waits any more if the worker has ended.
        let _ = chunk.answer.send(written);
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stdout").field("format", &self.format).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::delivery::fake::{FakeOutbox, alert, start};

    /// Fails as it is told, then keeps what is written.
    #[derive(Clone, Default)]
    struct Pipe {
        failures: Arc<Mutex<Vec<io::ErrorKind>>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.failures.lock().unwrap().pop() {
                Some(kind) => Err(kind.into()),
                None => self.written.lock().unwrap().write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_closed_pipe_is_trouble_that_passes() {
        let pipe = Pipe::default();
        pipe.failures.lock().unwrap().push(io::ErrorKind::BrokenPipe);
        let mut stdout = Stdout::to(pipe.clone(), Format::Jsonl);
        stdout.open(None).await.unwrap();
        let alerts = [1, 2].map(|number| Arc::new(alert(number, "high")));
        let delivery = stdout.deliver(&alerts).await;
        assert_eq!(delivery, Delivery::until(0, Trouble::temporary("broken pipe")));
        assert_eq!(stdout.deliver(&alerts).await, Delivery::of(2));
        let written = String::from_utf8(pipe.written.lock().unwrap().clone()).unwrap();
        assert_eq!(written, format!("{}\n{}\n", alerts[0].json, alerts[1].json));
    }

    #[tokio::test]
    async fn what_people_cannot_be_shown_as_text_they_are_shown_as_it_is() {
        let pipe = Pipe::default();
        let format = Format::Text { palette: Palette::Plain, width: None };
        let mut stdout = Stdout::to(pipe.clone(), format);
        stdout.open(None).await.unwrap();
        let whole = r#"{"rule":{"level":"high","title":"T"},"time":null,"summary":"s","cluster":"c"}"#;
        let whole = Outgoing { json: whole.to_owned(), ..alert(1, "high") };
        let odd = Outgoing { json: "{}".to_owned(), ..alert(2, "high") };
        assert_eq!(stdout.deliver(&[Arc::new(whole), Arc::new(odd)]).await, Delivery::of(2));
        let written = String::from_utf8(pipe.written.lock().unwrap().clone()).unwrap();
        assert_eq!(written, "HIGH      no time  T\n          s\n          cluster c\n\n{}\n");
    }

    #[tokio::test]
    async fn a_reader_that_stands_still_does_not_hold_up_the_end() {
        struct Blocked(Receiver<()>);
        impl Write for Blocked {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                self.0.recv().map(|()| 0).map_err(|_| io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (unblock, blocked) = channel();
        let outbox = FakeOutbox::new();
        outbox.add(1, "high");
        let running = start(&outbox, Stdout::to(Blocked(blocked), Format::Jsonl));
        running.stop().await;
        assert_eq!(outbox.cursor_of("s").number, 0);
        drop(unblock);
    }
}
