//! The first actors of several groups, in the order of their ids: a merge that reads little more than it gives.
//!
//! Every group has its records in order, and a page of all of them is wanted. Small pages are read of each group, and
//! another one of a group only when its first one is used up.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use futures::{StreamExt, TryStreamExt, stream};
use lethe_proto::ActorId;

use crate::store::HeaderOrTombstone;

/// Fewest and most records that are read of a group at a time.
const PAGE_MIN: usize = 16;
const PAGE_MAX: usize = 1024;
/// Groups that are read at the same time.
const GROUPS_MAX: usize = 16;

/// What is wanted: ids above `after`, at most `limit` of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub after: Option<ActorId>,
    pub limit: usize,
}

/// What of a group was read and not used yet.
struct Cursor {
    group: u32,
    ready: VecDeque<HeaderOrTombstone>,
    after: Option<ActorId>,
    page: usize,
    ended: bool,
}

impl Cursor {
    /// Reads on until there is something, or nothing more. Pages grow, because perhaps few records belong.
    async fn fill<E, R: Future<Output = Result<Vec<HeaderOrTombstone>, E>>>(
        &mut self,
        belongs: &impl Fn(&HeaderOrTombstone) -> bool,
        read: &impl Fn(u32, Option<ActorId>, usize) -> R,
    ) -> Result<(), E> {
        while self.ready.is_empty() && !self.ended {
            let page = read(self.group, self.after, self.page).await?;
            self.ended = page.len() < self.page;
            self.after = page.last().map(HeaderOrTombstone::actor).or(self.after);
            self.ready.extend(page.into_iter().filter(belongs));
            self.page = (self.page * 2).min(PAGE_MAX);
        }
        Ok(())
    }
}

/// Merges what `read` gives of the groups: up to so many records above an id, in order; fewer only where there are no more.
pub(super) async fn first<E, R: Future<Output = Result<Vec<HeaderOrTombstone>, E>>>(
    groups: &[u32],
    wanted: Wanted,
    belongs: impl Fn(&HeaderOrTombstone) -> bool,
    read: impl Fn(u32, Option<ActorId>, usize) -> R,
) -> Result<Vec<HeaderOrTombstone>, E> {
    // Twice the share of each group: ids are spread evenly, but not quite.
    let page = (2 * wanted.limit / groups.len().max(1)).clamp(PAGE_MIN, PAGE_MAX);
    let open = |group: &u32| {
        let mut cursor = Cursor { group: *group, ready: VecDeque::new(), after: wanted.after, page, ended: false };
        let (belongs, read) = (&belongs, &read);
        async move {
            cursor.fill(belongs, read).await?;
            Ok(cursor)
        }
    };
    let mut cursors: Vec<Cursor> =
        stream::iter(groups.iter().map(open)).buffer_unordered(GROUPS_MAX).try_collect().await?;
    let next = |number: usize, cursor: &Cursor| Some(Reverse((cursor.ready.front()?.actor(), number)));
    let mut heads: BinaryHeap<_> =
        cursors.iter().enumerate().filter_map(|(number, cursor)| next(number, cursor)).collect();
    let mut found = Vec::new();
    while found.len() < wanted.limit {
        let Some(Reverse((_, number))) = heads.pop() else { break };
        let cursor = &mut cursors[number];
        found.extend(cursor.ready.pop_front());
        cursor.fill(&belongs, &read).await?;
        heads.extend(next(number, cursor));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        collections::BTreeMap,
        convert::Infallible,
    };

    use uuid::Uuid;

    use super::*;
    use crate::store::{DestroyReason, Tombstone};

    const GROUPS: u32 = 64;

    /// Actors with these numbers, spread over groups; of each read it is noted how many records it gave.
    struct Fake {
        groups: BTreeMap<u32, Vec<u32>>,
        reads: RefCell<Vec<usize>>,
        in_flight: Cell<usize>,
    }

    impl Fake {
        fn new(actors: u32, group_of: impl Fn(u32) -> u32) -> Self {
            let mut groups = BTreeMap::<u32, Vec<u32>>::new();
            for number in 0..actors {
                groups.entry(group_of(number)).or_default().push(number);
            }
            Self { groups, reads: RefCell::default(), in_flight: Cell::new(0) }
        }

        async fn first(&self, after: Option<u32>, limit: usize, belongs: impl Fn(u32) -> bool) -> Vec<u32> {
            let groups: Vec<u32> = (0..GROUPS).collect();
            let wanted = Wanted { after: after.map(id), limit };
            let read = |group: u32, after: Option<ActorId>, limit: usize| async move {
                self.in_flight.set(self.in_flight.get() + 1);
                tokio::task::yield_now().await;
                self.in_flight.set(self.in_flight.get() - 1);
                let all = self.groups.get(&group).into_iter().flatten();
                let page: Vec<_> = all.filter(|number| Some(id(**number)) > after).take(limit).map(record).collect();
                self.reads.borrow_mut().push(page.len());
                Ok::<_, Infallible>(page)
            };
            let Ok(found) = first(&groups, wanted, |record| belongs(number(record)), read).await;
            found.iter().map(number).collect()
        }
    }

    fn id(number: u32) -> ActorId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        ActorId(id)
    }

    fn record(number: &u32) -> HeaderOrTombstone {
        let (incarnation, reason) = (Some(Uuid::nil()), DestroyReason::Caller);
        HeaderOrTombstone::Tombstone(Tombstone { actor: id(*number), incarnation, destroyed_at_ms: 0, reason })
    }

    fn number(record: &HeaderOrTombstone) -> u32 {
        u32::from_be_bytes(*record.actor().0.first_chunk().unwrap())
    }

    #[tokio::test]
    async fn pages_are_in_order_and_complete_wherever_the_actors_are() {
        for group_of in [|number: u32| number * 7 % GROUPS, |_| 3, |number: u32| number / 400] {
            let fake = Fake::new(5_000, group_of);
            let mut all = Vec::new();
            loop {
                let page = fake.first(all.last().copied(), 700, |_| true).await;
                all.extend(&page);
                if page.len() < 700 {
                    break;
                }
            }
            assert!(all.iter().copied().eq(0..5_000), "{} actors", all.len());
        }
    }

    #[tokio::test]
    async fn a_page_reads_few_records_more_than_it_gives() {
        let fake = Fake::new(64_000, |number| number * 7 % GROUPS);
        assert_eq!(fake.first(None, 1_000, |_| true).await.len(), 1_000);
        let read: usize = fake.reads.borrow().iter().sum();
        assert!((1_000..=4_000).contains(&read), "{read} records were read for a page of 1,000");
    }

    #[tokio::test]
    async fn few_that_belong_are_found_among_many_that_do_not() {
        let fake = Fake::new(64_000, |number| number * 7 % GROUPS);
        let found = fake.first(None, 100, |number| number % 1_000 == 999).await;
        assert!(found.iter().copied().eq((0..64).map(|nth| nth * 1_000 + 999)), "{found:?}");
    }
}
