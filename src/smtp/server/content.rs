//! DATA (RFC 5321, 4.1.1.4) and BDAT (RFC 3030).

use bytes::{Bytes, BytesMut};

use super::{Action, Asking, Question, Session, State, Transaction, replies};
use crate::mail::BodyKind;
use crate::smtp::content::{ChunkReader, DotReader, Tally};
use crate::smtp::reply::Reply;

/// Behind 354.
#[derive(Debug)]
pub(super) struct Data {
    reader: DotReader,
    aborted: bool,
}

/// The chunks of one message.
#[derive(Debug)]
pub(super) struct Chunks {
    reader: ChunkReader,
    aborted: bool,
}

/// Within a chunk.
#[derive(Debug)]
pub(super) struct Chunk {
    size: u64,
    left: u64,
    last: bool,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    Read(Chunks),
    /// RFC 3030, section 2: the octets of a BDAT that is refused are read over, then comes the reply.
    Refuse(Reply),
}

impl Session {
    pub(super) fn begin_data(&mut self, out: &mut Vec<Action>) {
        match self.take_envelope() {
            Ok(transaction) => {
                let reader = DotReader::new(self.settings.max_message_size);
                self.state = State::Data(Data { reader, aborted: false });
                out.push(Action::Begin(transaction));
                out.push(Action::Reply(replies::go_ahead()));
            }
            Err(reply) => self.refuse_content(reply, out),
        }
    }

    /// That each recipient was refused is no fault of a client that had to send DATA before it could hear so
    /// (RFC 2920, 3.1).
    fn refuse_content(&mut self, reply: Reply, out: &mut Vec<Action>) {
        self.blame(reply, u32::from(!matches!(self.state, State::Open(_))), out);
    }

    pub(super) fn data(&mut self, octets: &mut BytesMut, out: &mut Vec<Action>) -> bool {
        let State::Data(data) = &mut self.state else { return false };
        let mut pieces = Vec::new();
        let ended = data.reader.read(octets, &mut pieces);
        pass(pieces, data.reader.tally(), &mut data.aborted, out);
        if ended {
            let tally = data.reader.tally().clone();
            self.end_content(&tally, out);
        }
        ended
    }

    pub(super) fn begin_chunk(&mut self, size: u64, last: bool, out: &mut Vec<Action>) {
        let fate = match std::mem::replace(&mut self.state, State::Idle) {
            State::Between(chunks) => Fate::Read(chunks),
            state => {
                self.state = state;
                match self.take_envelope() {
                    Ok(transaction) => {
                        out.push(Action::Begin(transaction));
                        let reader = ChunkReader::new(self.settings.max_message_size);
                        Fate::Read(Chunks { reader, aborted: false })
                    }
                    // The transaction ends here: further chunks of this message must not pass for a whole one.
                    Err(reply) => Fate::Refuse(reply),
                }
            }
        };
        self.state = State::Chunk(Chunk { size, left: size, last, fate });
        // An empty chunk is complete already.
        self.chunk(&mut BytesMut::new(), out);
    }

    pub(super) fn chunk(&mut self, octets: &mut BytesMut, out: &mut Vec<Action>) -> bool {
        let State::Chunk(chunk) = &mut self.state else { return false };
        let here = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(octets.len());
        let piece = octets.split_to(here).freeze();
        chunk.left -= here as u64;
        if let Fate::Read(chunks) = &mut chunk.fate {
            chunks.read(piece, out);
        }
        if chunk.left > 0 {
            return false;
        }
        let State::Chunk(chunk) = std::mem::replace(&mut self.state, State::Idle) else { return false };
        match chunk.fate {
            // Not counted as an error: a client may have sent all its chunks before it could hear of the first's fate.
            Fate::Refuse(reply) => out.push(Action::Reply(reply)),
            Fate::Read(mut chunks) => {
                if chunk.last {
                    chunks.end(out);
                }
                if !chunk.last && chunks.aborted {
                    // It ends here, by this chunk's own reply.
                    self.finals = 1;
                }
                if chunk.last || chunks.aborted {
                    self.end_content(chunks.reader.tally(), out);
                } else {
                    self.state = State::Between(chunks);
                    out.push(Action::Reply(replies::chunk_ok(chunk.size)));
                }
            }
        }
        true
    }

    /// The transaction, where content may follow; where it may not, all stays as it is.
    fn take_envelope(&mut self) -> Result<Box<Transaction>, Reply> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Open(transaction) if !transaction.recipients.is_empty() => {
                self.finals = if self.settings.lmtp { transaction.taken } else { 1 };
                Ok(transaction)
            }
            state => {
                let reply = match &state {
                    // RFC 2033, 4.2, wants 503 there.
                    State::Open(transaction) if transaction.refused && !self.settings.lmtp => replies::no_recipients(),
                    State::Open(_) => replies::out_of_order("Send RCPT first"),
                    State::Between(_) => replies::out_of_order("No DATA behind BDAT"),
                    _ => replies::out_of_order("Send MAIL first"),
                };
                self.state = state;
                Err(reply)
            }
        }
    }

    /// Content has begun, and was neither asked about nor given up.
    pub(super) fn has_begun(&self) -> bool {
        match &self.state {
            State::Data(data) => !data.aborted,
            State::Between(chunks) | State::Chunk(Chunk { fate: Fate::Read(chunks), .. }) => !chunks.aborted,
            State::Chunk(Chunk { fate: Fate::Refuse(_), .. }) => false,
            State::Idle | State::Open(_) | State::Auth(_) => false,
            State::Asking(_) | State::StartingTls | State::Closed => false,
        }
    }

    /// The end was seen: either it is refused for what was found in it, or someone must answer for it.
    fn end_content(&mut self, tally: &Tally, out: &mut Vec<Action>) {
        match tally.fault() {
            Some(fault) => {
                self.state = State::Idle;
                self.reply_to_content(replies::content_fault(fault, self.settings.max_message_size), out);
            }
            None => {
                self.state = State::Asking(Asking::Store);
                let body = if tally.eight_bit() { BodyKind::EightBit } else { BodyKind::SevenBit };
                out.push(Action::Ask(Question::Store { body }));
            }
        }
    }
}

impl Chunks {
    fn read(&mut self, piece: Bytes, out: &mut Vec<Action>) {
        let mut pieces = Vec::new();
        self.reader.read(piece, &mut pieces);
        pass(pieces, self.reader.tally(), &mut self.aborted, out);
    }

    fn end(&mut self, out: &mut Vec<Action>) {
        let mut pieces = Vec::new();
        self.reader.end(&mut pieces);
        pass(pieces, self.reader.tally(), &mut self.aborted, out);
    }
}

/// Passes pieces on, and says once that all is off.
fn pass(pieces: Vec<Bytes>, tally: &Tally, aborted: &mut bool, out: &mut Vec<Action>) {
    if tally.fault().is_none() {
        out.extend(pieces.into_iter().map(Action::Content));
    } else if !std::mem::replace(aborted, true) {
        out.push(Action::Abort);
    }
}
