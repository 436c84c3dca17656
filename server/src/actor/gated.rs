//! Bodies of an actor: what JavaScript writes while it is read leaves only when it is committed and this node still leads.
//!
//! A body whose length is known was whole when its head was released, and rests on nothing else: JavaScript writes none of
//! it any more, so the actor may end while it is read. Of any other, each chunk and the end wait for a proof that began after they were written. What is written while a proof is under way waits for
//! the next one together, so a body costs a proof per round trip at most, not per chunk.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{
    FutureExt,
    future::BoxFuture,
    stream::{self, Stream},
};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use lethe_runtime::{
    body::{Body, BodyError},
    host::CallError,
};

/// Bytes that may wait for a proof; as long as more do, nothing more is read.
const WAITING_BYTES_MAX: usize = 64 << 10;

/// What a chunk takes besides its bytes, roughly, so that small ones are bounded, too.
const PART_BYTES: usize = 128;

/// A chunk, an error, or the end.
type Part = Option<Result<Frame<Bytes>, BodyError>>;

/// Says whether what was written so far may leave.
type Proving = BoxFuture<'static, Result<(), CallError>>;

/// The same body behind the gate. `prove` is asked after parts were written. What `keep` gives lives as long as the body, if
/// that needs the actor.
pub(super) fn gated<K, P>(body: Body, prove: P, keep: impl FnOnce() -> K) -> Body
where
    K: Send + 'static,
    P: Fn() -> Proving + Send + 'static,
{
    if body.size_hint().exact().is_some() {
        return body;
    }
    let gated =
        Gated { body, prove, waiting: VecDeque::new(), waiting_bytes: 0, proven: 0, proving: None, read: false };
    StreamBody::new(gated.parts(keep())).boxed_unsync()
}

struct Gated<P> {
    body: Body,
    prove: P,
    /// Read, and not passed on yet.
    waiting: VecDeque<Part>,
    waiting_bytes: usize,
    /// How many of those, from the first on, may leave.
    proven: usize,
    /// The proof that is under way, and for how many.
    proving: Option<(usize, Proving)>,
    /// Whether there is nothing more to read.
    read: bool,
}

impl<P: Fn() -> Proving + Send + 'static> Gated<P> {
    fn parts<K: Send + 'static>(self, keep: K) -> impl Stream<Item = Result<Frame<Bytes>, BodyError>> + Send {
        stream::unfold((self, keep), |(mut gated, keep)| async move { Some((gated.next().await?, (gated, keep))) })
    }

    async fn next(&mut self) -> Part {
        loop {
            if self.proven > 0 {
                self.proven -= 1;
                let part = self.waiting.pop_front()?;
                self.waiting_bytes -= bytes(&part);
                return part;
            }
            self.read_what_is_there();
            if self.proving.is_none() && !self.waiting.is_empty() {
                self.proving = Some((self.waiting.len(), (self.prove)()));
            }
            let more = self.reads_on();
            let proof = async {
                match &mut self.proving {
                    Some((parts, proof)) => (*parts, proof.await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                (parts, proof) = proof => {
                    self.proving = None;
                    match proof {
                        Ok(()) => self.proven = parts,
                        Err(reason) => return Some(Err(self.end(reason))),
                    }
                }
                part = self.body.frame(), if more => self.take(part),
            }
        }
    }

    /// What was written at once is proven at once.
    fn read_what_is_there(&mut self) {
        while self.reads_on() {
            match self.body.frame().now_or_never() {
                Some(part) => self.take(part),
                None => return,
            }
        }
    }

    fn reads_on(&self) -> bool {
        !self.read && self.waiting_bytes < WAITING_BYTES_MAX
    }

    fn take(&mut self, part: Part) {
        self.read = !matches!(part, Some(Ok(_)));
        self.waiting_bytes += bytes(&part);
        self.waiting.push_back(part);
    }

    /// Nothing more leaves. Only the end follows the error.
    fn end(&mut self, reason: CallError) -> BodyError {
        (self.waiting, self.waiting_bytes) = (VecDeque::from([None]), PART_BYTES);
        (self.proven, self.read) = (1, true);
        Box::new(reason)
    }
}

/// What a part counts for while it waits.
fn bytes(part: &Part) -> usize {
    let data = part.as_ref().and_then(|part| part.as_ref().ok()?.data_ref());
    PART_BYTES + data.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::StreamExt;
    use lethe_runtime::{body, host::Outcome};
    use parking_lot::Mutex;
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::actor::error;

    type Proofs = Arc<Mutex<VecDeque<oneshot::Sender<Result<(), CallError>>>>>;

    /// A body that is written here, and the proofs it asked for.
    struct Stage {
        write: Option<mpsc::UnboundedSender<&'static str>>,
        body: Body,
        proofs: Proofs,
    }

    fn gated_by(body: Body, proofs: &Proofs) -> Body {
        let proofs = proofs.clone();
        let prove = move || {
            let (answer, asked) = oneshot::channel();
            proofs.lock().push_back(answer);
            asked.map(|answer| answer.expect("a proof is answered")).boxed()
        };
        gated(body, prove, || ())
    }

    impl Stage {
        fn new() -> Self {
            let (write, written) = mpsc::unbounded_channel();
            let next = |mut written: mpsc::UnboundedReceiver<&'static str>| async move {
                let text: &str = written.recv().await?;
                Some((Ok(Frame::data(Bytes::from_static(text.as_bytes()))), written))
            };
            let proofs = Proofs::default();
            let body = gated_by(StreamBody::new(stream::unfold(written, next)).boxed_unsync(), &proofs);
            Self { write: Some(write), body, proofs }
        }

        fn write(&self, text: &'static str) {
            self.write.as_ref().expect("it is not closed").send(text).expect("it is read");
        }

        fn answer(&self, answer: Result<(), CallError>) {
            self.proofs.lock().pop_front().expect("a proof was asked for").send(answer).expect("it waits");
        }

        /// What can be read now: a chunk, an error's message, or the end; none as long as that waits.
        fn read(&mut self) -> Option<String> {
            let part = self.body.frame().now_or_never()?;
            Some(match part {
                Some(Ok(frame)) => String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text"),
                Some(Err(error)) => error.to_string(),
                None => "end".to_owned(),
            })
        }

        fn asked(&self) -> usize {
            self.proofs.lock().len()
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_chunk_leaves_when_a_proof_that_began_after_it_is_there() {
        let mut stage = Stage::new();
        assert_eq!((stage.read(), stage.asked()), (None, 0), "there is nothing to prove yet");
        stage.write("one");
        assert_eq!((stage.read(), stage.asked()), (None, 1));
        stage.write("two");
        assert_eq!((stage.read(), stage.asked()), (None, 1));
        stage.answer(Ok(()));
        assert_eq!((stage.read(), stage.asked()), (some("one"), 0));
        assert_eq!((stage.read(), stage.asked()), (None, 1), "the second one came after the proof had begun");
        stage.answer(Ok(()));
        assert_eq!(stage.read(), some("two"));
    }

    #[test]
    fn chunks_and_the_end_that_are_there_together_need_one_proof() {
        let mut stage = Stage::new();
        stage.write("one");
        stage.write("two");
        stage.write = None;
        assert_eq!((stage.read(), stage.asked()), (None, 1));
        stage.answer(Ok(()));
        assert_eq!([stage.read(), stage.read(), stage.read()], ["one", "two", "end"].map(some));
        assert_eq!(stage.asked(), 0);
    }

    #[test]
    fn the_end_alone_waits_for_a_proof_too() {
        let mut stage = Stage::new();
        stage.write = None;
        assert_eq!((stage.read(), stage.asked()), (None, 1));
        stage.answer(Ok(()));
        assert_eq!(stage.read(), some("end"));
    }

    #[test]
    fn chunks_without_bytes_wait_in_bounded_number_too() {
        let (read, proofs) = (Arc::new(Mutex::new(0)), Proofs::default());
        let counted = read.clone();
        let empty = stream::iter(0..100_000).map(move |_| {
            *counted.lock() += 1;
            Ok(Frame::data(Bytes::new()))
        });
        let mut body = gated_by(StreamBody::new(empty).boxed_unsync(), &proofs);
        assert!(body.frame().now_or_never().is_none(), "the proof hangs");
        assert_eq!(*read.lock(), WAITING_BYTES_MAX / PART_BYTES);
    }

    #[test]
    fn nothing_follows_a_proof_that_failed() {
        let mut stage = Stage::new();
        stage.write("one");
        assert_eq!(stage.read(), None);
        stage.write("two");
        assert_eq!(stage.read(), None);
        let reason = error::unavailable("deposed", Outcome::Unknown);
        let said = reason.to_string();
        stage.answer(Err(reason));
        assert_eq!([stage.read(), stage.read()], [Some(said), some("end")]);
        assert_eq!(stage.asked(), 0);
    }

    #[test]
    fn a_body_that_was_whole_with_its_head_needs_no_proof() {
        let proofs = Proofs::default();
        let body = gated_by(body::full("whole"), &proofs);
        assert_eq!(body.size_hint().exact(), Some(5));
        let body = gated(body, || panic!("it needs no proof"), || panic!("it needs nobody"));
        let read = body.collect().now_or_never().expect("it is there").expect("it is whole");
        assert_eq!((read.to_bytes(), proofs.lock().len()), (Bytes::from_static(b"whole"), 0));
    }
}
