//! Many futures polled by one task: each is polled only when it was woken, and can be taken out at any time.
//!
//! A place outlives its future, and its waker with it, so a call costs neither an allocation nor a task. A waker that is
//! used late wakes whoever has the place then, which does no harm.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use parking_lot::Mutex;

pub(super) struct Crew<F> {
    places: Vec<Place<F>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// Those whose turn it is; empty between polls.
    turn: Vec<usize>,
}

struct Place<F> {
    work: Option<F>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Places that were woken since the last poll.
#[derive(Default)]
struct Woken {
    state: Mutex<WokenState>,
}

#[derive(Default)]
struct WokenState {
    places: Vec<usize>,
    /// The task that polls, until somebody wakes it.
    task: Option<Waker>,
}

struct Bell {
    place: usize,
    /// Whether the place is among the woken.
    rung: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.woken.state.lock();
        state.places.push(self.place);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<F: Future + Unpin> Crew<F> {
    pub fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), woken: Arc::default(), turn: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes a future in; the next [`Crew::poll`] polls it.
    pub fn add(&mut self, work: F) {
        let place = self.free.pop().unwrap_or_else(|| {
            let bell = Arc::new(Bell { place: self.places.len(), rung: false.into(), woken: self.woken.clone() });
            self.places.push(Place { work: None, waker: bell.clone().into(), bell });
            self.places.len() - 1
        });
        self.places[place].work = Some(work);
        self.places[place].bell.wake_by_ref();
    }

    /// Polls what was woken, and gives what is ready to `done`. The task is woken when there is more to poll.
    pub fn poll(&mut self, cx: &mut Context<'_>, mut done: impl FnMut(F::Output)) {
        {
            let mut state = self.woken.state.lock();
            std::mem::swap(&mut state.places, &mut self.turn);
            if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                state.task = Some(cx.waker().clone());
            }
        }
        for at in self.turn.drain(..) {
            let place = &mut self.places[at];
            // Before the poll: what wakes it from now on must count.
            place.bell.rung.store(false, Ordering::Release);
            let Some(work) = &mut place.work else { continue };
            if let Poll::Ready(output) = Pin::new(work).poll(&mut Context::from_waker(&place.waker)) {
                place.work = None;
                self.free.push(at);
                done(output);
            }
        }
    }

    /// Looks at everyone; those for whom `stays` is false are dropped.
    pub fn retain(&mut self, mut stays: impl FnMut(&F) -> bool) {
        for (at, place) in self.places.iter_mut().enumerate() {
            if place.work.as_ref().is_some_and(|work| !stays(work)) {
                place.work = None;
                self.free.push(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::{FutureExt, future::BoxFuture, task::noop_waker};
    use tokio::sync::oneshot;

    use super::*;

    type Work = BoxFuture<'static, u32>;

    /// Polls once, and says what ended.
    fn ended(crew: &mut Crew<Work>) -> Vec<u32> {
        let mut ended = Vec::new();
        crew.poll(&mut Context::from_waker(&noop_waker()), |output| ended.push(output));
        ended
    }

    fn waits(number: u32) -> (oneshot::Sender<()>, Work) {
        let (go, wait) = oneshot::channel();
        (go, async move { wait.await.map_or(0, |()| number) }.boxed())
    }

    #[test]
    fn each_ends_by_itself_and_its_place_is_used_again() {
        let mut crew = Crew::new();
        let (first, work) = waits(1);
        crew.add(work);
        let (second, work) = waits(2);
        crew.add(work);
        assert_eq!((ended(&mut crew), crew.len()), (vec![], 2));
        second.send(()).unwrap();
        assert_eq!((ended(&mut crew), crew.len()), (vec![2], 1));
        crew.add(async { 3 }.boxed());
        assert_eq!(ended(&mut crew), [3]);
        first.send(()).unwrap();
        assert_eq!((ended(&mut crew), crew.len()), (vec![1], 0));
        assert_eq!(crew.places.len(), 2);
    }

    #[test]
    fn only_what_was_woken_is_polled() {
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = polls.clone();
        let mut crew: Crew<Work> = Crew::new();
        crew.add(
            futures::future::poll_fn(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Poll::Pending
            })
            .boxed(),
        );
        crew.add(
            futures::future::poll_fn({
                let mut left = 3;
                move |cx| {
                    left -= 1;
                    cx.waker().wake_by_ref();
                    if left == 0 { Poll::Ready(7) } else { Poll::Pending }
                }
            })
            .boxed(),
        );
        let rounds: Vec<_> = (0..4).map(|_| ended(&mut crew)).collect();
        assert_eq!(rounds, [vec![], vec![], vec![7], vec![]]);
        assert_eq!(polls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_task_is_woken_once_for_all_that_is_woken_between_two_polls() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let mut crew: Crew<Work> = Crew::new();
        let (going, works): (Vec<_>, Vec<_>) = (0..3).map(waits).unzip();
        works.into_iter().for_each(|work| crew.add(work));
        let poll = |crew: &mut Crew<Work>| crew.poll(&mut Context::from_waker(&waker), |_| {});
        poll(&mut crew);
        going.into_iter().for_each(|go| go.send(()).unwrap());
        assert_eq!((count.0.load(Ordering::Relaxed), crew.len()), (1, 3));
        poll(&mut crew);
        assert_eq!((count.0.load(Ordering::Relaxed), crew.len()), (1, 0));
    }

    #[test]
    fn what_is_taken_out_is_dropped_and_its_late_waker_does_no_harm() {
        let mut crew = Crew::new();
        let (go, work) = waits(1);
        crew.add(work);
        let (stay, work) = waits(2);
        crew.add(work);
        assert_eq!(ended(&mut crew), [0_u32; 0]);
        let mut looks = [false, true].into_iter();
        crew.retain(|_| looks.next().unwrap());
        assert!(go.is_closed());
        drop(go);
        let (next, work) = waits(3);
        crew.add(work);
        assert_eq!(ended(&mut crew), [0_u32; 0]);
        stay.send(()).unwrap();
        next.send(()).unwrap();
        assert_eq!(ended(&mut crew), [2, 3]);
    }
}
