//! Server-sent events as they come: bytes in, whole events out. What is broken off is dropped.

use crate::failure::Failure;

/// An event longer than this is no event, in bytes.
const LONGEST: usize = 16 << 20;

/// An event that came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// What it is.
    pub(crate) name: String,
    /// What it says.
    pub(crate) data: String,
}

/// Reads a stream; made anew for each connection, but for the id.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// What has come of a line that has not ended.
    line: Vec<u8>,
    name: String,
    data: String,
    id: Option<String>,
    /// The id of the last event that came whole: to go on from.
    pub(crate) last_id: Option<String>,
}

impl Reader {
    /// A reader of a stream that goes on from an event.
    pub(crate) fn after(last_id: Option<String>) -> Self {
        Self { last_id, ..Self::default() }
    }

    /// Reads on; the events that are whole now.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            events.extend(self.take(line.strip_suffix('\r').unwrap_or(&line)));
        }
        if self.line.len() + self.data.len() > LONGEST {
            return Err(Failure::failed("unexpected_answer", "The server sends an event that has no end"));
        }
        Ok(events)
    }

    fn take(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            if let Some(id) = self.id.take() {
                self.last_id = Some(id);
            }
            let event = Event { name: std::mem::take(&mut self.name), data: std::mem::take(&mut self.data) };
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" => self.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 5\nevent: job\nid: a-1\ndata: {\"é\":1}\n\n: nothing\nid: a-2\n\r\n\
        event: gone\ndata:x\r\ndata: y\n\nid: a-9\ndata: broken";

    #[test]
    fn events_are_read_whole_wherever_the_bytes_are_parted() {
        let job = Event { name: "job".to_owned(), data: "{\"é\":1}".to_owned() };
        let gone = Event { name: "gone".to_owned(), data: "x\ny".to_owned() };
        for size in 1..STREAM.len() {
            let mut reader = Reader::default();
            let parts = STREAM.as_bytes().chunks(size);
            let events: Vec<Event> = parts.flat_map(|part| reader.read(part).unwrap()).collect();
            assert_eq!(events, [job.clone(), gone.clone()], "{size}");
            assert_eq!(reader.last_id.as_deref(), Some("a-2"), "not that of an event that did not come whole");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_read_for_ever() {
        let mut reader = Reader::default();
        let line = format!("data: {}\n", "x".repeat(1 << 20));
        assert!((0..20).any(|_| reader.read(line.as_bytes()).is_err()));
        let mut reader = Reader::default();
        assert!((0..20).any(|_| reader.read(&vec![b'x'; 1 << 20]).is_err()));
    }
}
