//! The content by DATA: in pieces, dot-stuffed, with an ear for what the server says meanwhile.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{Connection, Written};
use crate::smtp::client::{Break, Input, Stuffing};
use crate::transport::handover::{Outgoing, PIECE_SIZE};

impl Connection {
    /// Sends the content and its end. What came of it is among the actions then.
    pub(super) async fn send_content(&mut self, outgoing: &Outgoing<'_>) {
        let until = Instant::now() + self.opener.timeouts.content;
        let (mut stuffing, mut source) = (Stuffing::default(), outgoing.content());
        let (mut pieces, mut gathered) = (Vec::new(), 0);
        loop {
            match source.next().await {
                Err(error) => return self.broken(Break::Content(error.to_string())),
                Ok(None) => break,
                Ok(Some(chunk)) => {
                    // The last piece waits for the end, so that a small message leaves in one write.
                    if gathered + chunk.len() > PIECE_SIZE && gathered > 0 {
                        if !self.write_content(std::mem::take(&mut pieces).into(), 0, until).await {
                            return;
                        }
                        gathered = 0;
                    }
                    gathered += chunk.len();
                    stuffing.stuff(chunk, &mut pieces);
                }
            }
        }
        outgoing.progress.sending_the_last();
        let end = stuffing.end();
        let end_size = end.len();
        pieces.push(end);
        self.write_content(pieces.into(), end_size, until).await;
    }

    /// Writes pieces of the content, the last `end_size` octets of them its end. False where nothing more is to be sent.
    async fn write_content(&mut self, mut pieces: VecDeque<Bytes>, end_size: usize, until: Instant) -> bool {
        loop {
            let Some(stream) = &mut self.stream else { return false };
            let written = timeout_at(until, stream.write(&mut pieces, &mut self.unread, true)).await;
            let left: usize = pieces.iter().map(Bytes::len).sum();
            // From its first octet on, the end may have left.
            if left < end_size {
                self.step(Input::EndOfContent);
            }
            match written {
                Ok(Ok(Written::All)) => return true,
                Ok(Ok(Written::Heard)) => self.listen(),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => self.broken(Break::Closed),
                Ok(Err(error)) => self.broken(Break::Io(error.to_string())),
                Err(_) => self.broken(Break::TimedOut),
            }
            if !self.actions.is_empty() {
                // The server has decided; what it was not sent by now it will not get, so no other mail can follow.
                self.stream = None;
                return false;
            }
        }
    }
}
