//! A request's body on its way out, piece by piece, and the moment from which the provider may have all of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::Notify;

use super::Failure;
use super::failure;
use crate::mail::HeaderSection;
use crate::queue::{Content, QueueError};
use crate::transport::Progress;

/// Handed to the connection at a time: the last octets stay back until those before them are on their way.
const PIECE: usize = 64 * 1024;

/// Octets of a known number.
pub(in crate::transport) struct Body {
    pieces: BoxStream<'static, Result<Bytes, QueueError>>,
    size: u64,
}

/// Content as it goes into a body, and its size there.
pub(in crate::transport) struct Source {
    header: Option<Bytes>,
    content: Content,
    pub(in crate::transport) size: u64,
}

impl Source {
    /// The content, its header section as `kept`.
    pub(in crate::transport) fn new(content: &Content, kept: &HeaderSection) -> Self {
        let size = content.size() - content.header_size() as u64 + kept.octets().len() as u64;
        Self { header: Some(kept.octets().clone()), content: content.clone(), size }
    }

    fn pieces(self) -> BoxStream<'static, Result<Bytes, QueueError>> {
        let header = stream::iter(self.header.map(Ok));
        // Piece 0 is the stored header section.
        let body = stream::try_unfold((self.content, 1u32), async |(content, n)| {
            Ok(content.chunk(n).await?.map(|chunk| (chunk, (content, n + 1))))
        });
        header.chain(body).boxed()
    }
}

impl Body {
    pub(in crate::transport) fn whole(octets: impl Into<Bytes>) -> Self {
        let octets = octets.into();
        Self { size: octets.len() as u64, pieces: cut(octets).boxed() }
    }

    /// `content` between two texts.
    pub(in crate::transport) fn around(before: String, content: Source, after: String) -> Self {
        let size = before.len() as u64 + content.size + after.len() as u64;
        let (before, after) = (stream::iter([Ok(Bytes::from(before))]), stream::iter([Ok(Bytes::from(after))]));
        Self { size, pieces: before.chain(content.pieces()).chain(after).boxed() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn watched(self, progress: Progress, handover: Arc<Handover>) -> Watched {
        Watched { pieces: self.pieces, left: self.size, progress, handover }
    }
}

fn cut(mut octets: Bytes) -> impl Stream<Item = Result<Bytes, QueueError>> + Send {
    stream::iter(std::iter::from_fn(move || {
        let piece = octets.split_to(octets.len().min(PIECE));
        (!piece.is_empty()).then_some(Ok(piece))
    }))
}

/// How far a body has come, seen from outside of the connection.
#[derive(Default)]
pub(in crate::transport) struct Handover {
    complete: AtomicBool,
    told: Notify,
    /// Why the body could not be read; it is the queue's fault then.
    unreadable: Mutex<Option<String>>,
}

impl Handover {
    fn finish(&self) {
        self.complete.store(true, Ordering::Release);
        self.told.notify_one();
    }

    fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Returns once the last octet was handed over.
    pub(super) async fn complete(&self) {
        self.told.notified().await;
    }

    /// What a failed request means, by how far it had come.
    pub(super) fn failure(&self, error: reqwest::Error) -> Failure {
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).take();
        match unreadable {
            Some(why) => Failure::Content(why),
            None => failure::classify(self.is_complete(), &error.without_url()),
        }
    }
}

/// Tells of the last octet before handing it over.
pub(super) struct Watched {
    pieces: BoxStream<'static, Result<Bytes, QueueError>>,
    left: u64,
    progress: Progress,
    handover: Arc<Handover>,
}

impl Watched {
    fn fail(&self, why: String) -> std::io::Error {
        *self.handover.unreadable.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        std::io::Error::other(why)
    }
}

impl Stream for Watched {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.pieces.poll_next_unpin(context)) {
            Some(Ok(piece)) => match self.left.checked_sub(piece.len() as u64) {
                Some(left) => {
                    self.left = left;
                    if left == 0 {
                        self.progress.sending_the_last();
                        self.handover.finish();
                    }
                    Ok(piece)
                }
                None => Err(self.fail("the content is longer than it was said to be".to_owned())),
            },
            Some(Err(error)) => Err(self.fail(error.to_string())),
            None => Err(self.fail(format!("the content is {} octets shorter than it was said to be", self.left))),
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn run(body: Body) -> (Vec<u8>, bool, Progress, Vec<bool>) {
        let (progress, handover) = (Progress::default(), Arc::new(Handover::default()));
        let mut watched = body.watched(progress.clone(), handover.clone());
        let (mut octets, mut told) = (Vec::new(), Vec::new());
        while let Some(Ok(piece)) = watched.next().await {
            octets.extend_from_slice(&piece);
            told.push(progress.may_have_it());
        }
        (octets, handover.complete().now_or_never().is_some(), progress, told)
    }

    #[tokio::test]
    async fn only_the_last_piece_tells() {
        let octets: Vec<u8> = (0..3 * PIECE + 1).map(|n| n as u8).collect();
        let (sent, complete, _, told) = run(Body::whole(octets.clone())).await;
        assert_eq!((sent, complete), (octets, true));
        assert_eq!(told, [false, false, false, true]);
    }

    #[tokio::test]
    async fn content_goes_between_its_texts_with_the_header_that_was_kept() {
        let content = Content::memory(Bytes::from_static(b"A: 1\r\nX: 2\r\n\r\nbody"), 14);
        let kept = HeaderSection::new(content.header().await.unwrap()).without(|field| field.is("x"));
        let body = Body::around("<".to_owned(), Source::new(&content, &kept), ">".to_owned());
        assert_eq!(body.size(), 14);
        let (sent, complete, _, _) = run(body).await;
        assert_eq!((sent.as_slice(), complete), (&b"<A: 1\r\n\r\nbody>"[..], true));
    }

    #[tokio::test]
    async fn content_that_ends_too_soon_is_never_complete() {
        let pieces = stream::iter([Ok(Bytes::from_static(b"abc"))]).boxed();
        let (sent, complete, progress, _) = run(Body { pieces, size: 4 }).await;
        assert_eq!((sent.as_slice(), complete, progress.may_have_it()), (&b"abc"[..], false, false));
    }
}
