//! The linearizability checker against histories whose truth is known: simulated ones must pass, mutated ones must
//! fail, and on both it must agree with another checker (Porcupine), of another author.

use lethe_jepsen::{
    check::{Effort, Search, Verdict, explain, linearizable, lists, search, shrink},
    generate::{Mutation, Object, Settings, mutate, simulate},
    history::{Op, validate},
    model::{Bank, BankOut, Call, Counter, List, ListOut, Model, Register, Set, SetOut, calls_by_key},
};
use porcupine_rs::Operation;
use proptest::{prelude::*, test_runner::Config};

fn settings() -> impl Strategy<Value = Settings> {
    (1..8_usize, 1..4_usize, 1..80_usize, 0..150_u32, 0..100_u32, 0..60_u32).prop_map(
        |(clients, keys, calls, info_permille, fail_permille, destroy_permille)| Settings {
            clients,
            keys,
            calls,
            info_permille,
            fail_permille,
            destroy_permille,
        },
    )
}

fn verdict<M: Model>(history: &[Op]) -> Verdict {
    linearizable::<M>(history, Effort::default()).unwrap().verdict
}

fn history_for(mutation: Mutation, seed: u64, settings: Settings) -> Vec<Op> {
    match mutation {
        Mutation::DuplicatedEffect => simulate::<Counter>(seed, settings),
        Mutation::LostElement => simulate::<Set>(seed, settings),
        Mutation::TornTransfer => simulate::<Bank>(seed, settings),
        Mutation::LostAppend | Mutation::SwappedAppends => simulate::<List>(seed, settings),
        _ => simulate::<Register>(seed, settings),
    }
}

proptest! {
    #![proptest_config(Config { cases: 2_000, ..Config::default() })]

    #[test]
    fn histories_of_correct_registers_pass(seed: u64, settings in settings()) {
        let history = simulate::<Register>(seed, settings);
        validate(&history).unwrap();
        prop_assert_eq!(verdict::<Register>(&history), Verdict::Valid);
    }

    #[test]
    fn histories_of_correct_counters_pass(seed: u64, settings in settings()) {
        // Unanswered adds cannot be told apart by their effect, and each doubles the search.
        let settings = Settings { info_permille: settings.info_permille / 4, ..settings };
        let history = simulate::<Counter>(seed, settings);
        validate(&history).unwrap();
        prop_assert_eq!(verdict::<Counter>(&history), Verdict::Valid);
    }

    #[test]
    fn histories_of_correct_banks_pass(seed: u64, settings in settings()) {
        let settings = Settings { info_permille: settings.info_permille / 4, ..settings };
        let history = simulate::<Bank>(seed, settings);
        validate(&history).unwrap();
        prop_assert_eq!(verdict::<Bank>(&history), Verdict::Valid);
    }

    #[test]
    fn histories_of_correct_sets_pass(seed: u64, settings in settings()) {
        let settings = Settings { info_permille: settings.info_permille / 2, ..settings };
        let history = simulate::<Set>(seed, settings);
        validate(&history).unwrap();
        prop_assert_eq!(verdict::<Set>(&history), Verdict::Valid);
    }

    #[test]
    fn histories_of_correct_lists_pass(seed: u64, settings in settings()) {
        let history = simulate::<List>(seed, settings);
        validate(&history).unwrap();
        prop_assert_eq!(lists(&history).unwrap().verdict, Verdict::Valid);
    }

    #[test]
    fn every_mutated_history_fails_with_a_small_counterexample(seed: u64, settings in settings()) {
        for mutation in Mutation::ALL {
            let history = history_for(mutation, seed, settings);
            let Some(wrong) = mutate(&history, mutation, seed) else { continue };
            validate(&wrong).unwrap();
            let verdict = match mutation {
                Mutation::DuplicatedEffect => verdict::<Counter>(&wrong),
                Mutation::LostElement => verdict::<Set>(&wrong),
                Mutation::TornTransfer => verdict::<Bank>(&wrong),
                Mutation::LostAppend | Mutation::SwappedAppends => lists(&wrong).unwrap().verdict,
                _ => verdict::<Register>(&wrong),
            };
            prop_assert!(matches!(verdict, Verdict::Violation(_)), "{mutation:?}: {verdict:?}");
        }
    }
}

#[test]
fn each_mutation_is_possible_in_most_histories() {
    let settings = Settings { destroy_permille: 25, ..Settings::default() };
    for mutation in Mutation::ALL {
        let possible = |seed: &u64| {
            let history = history_for(mutation, *seed, settings);
            mutate(&history, mutation, *seed).is_some()
        };
        let count = (0..200).filter(possible).count();
        assert!(count >= 60, "{mutation:?} was possible in {count} of 200 histories");
    }
}

/// Porcupine's view of a model: the output is part of the operation, an unanswered call is answered at the end of time.
#[derive(Clone)]
struct Theirs<M>(std::marker::PhantomData<M>);

impl<M> porcupine_rs::Model for Theirs<M>
where
    M: Object + Clone + Send + Sync,
    M::State: Send + Sync,
    M::Input: Send + Sync,
    M::Output: Send + Sync,
{
    type State = M::State;
    type Op = (M::Input, Option<M::Output>);
    type Metadata = ();

    fn init() -> M::State {
        M::initial()
    }

    fn step(state: &M::State, (input, output): &Self::Op) -> (bool, M::State) {
        match M::step(state, input, output.as_ref()) {
            Some(next) => (true, next),
            None => (false, state.clone()),
        }
    }
}

fn theirs_says_linearizable<M>(calls: &[Call<M::Input, M::Output>]) -> bool
where
    M: Object + Clone + Send + Sync,
    M::State: Send + Sync,
    M::Input: Send + Sync,
    M::Output: Send + Sync,
{
    let operation = |(client, call): (usize, &Call<M::Input, M::Output>)| Operation::<Theirs<M>> {
        client_id: Some(client as u32),
        call_time: call.invoked as i64,
        return_time: call.returned.map_or(i64::MAX - client as i64, |index| index as i64),
        op: (call.input.clone(), call.output.clone()),
        metadata: None,
    };
    let operations: Vec<_> = calls.iter().enumerate().map(operation).collect();
    porcupine_rs::check_operations(&operations)
}

/// Compares both checkers on `count` small histories, half of them scrambled; returns how many were not linearizable.
fn compare<M>(count: u64, scramble: impl Fn(&mut Call<M::Input, M::Output>, u64)) -> u64
where
    M: Object + Clone + Send + Sync,
    M::State: Send + Sync,
    M::Input: Send + Sync,
    M::Output: Send + Sync,
{
    let mut impossible = 0;
    for seed in 0..count {
        let settings = Settings {
            clients: 2 + (seed % 4) as usize,
            calls: 4 + (seed % 13) as usize,
            info_permille: 100,
            destroy_permille: 40,
            ..Settings::default()
        };
        let mut keys = calls_by_key::<M>(&simulate::<M>(seed, settings)).unwrap();
        let Some(calls) = keys.get_mut("k0") else { continue };
        if seed % 2 == 1 {
            let at = seed as usize % calls.len();
            scramble(&mut calls[at], seed);
        }
        let ours = match search::<M>(calls, Effort::default()) {
            Search::Linearizable(order) => {
                assert_explains::<M>(calls, &order);
                true
            }
            Search::Impossible(_) => false,
            Search::GaveUp(why) => panic!("seed {seed}: {why}"),
        };
        assert_eq!(ours, theirs_says_linearizable::<M>(calls), "seed {seed}: {calls:?}");
        let droppable = M::droppable(calls);
        let kept = calls.iter().zip(droppable).filter(|(call, droppable)| call.returned.is_some() || !droppable);
        let kept: Vec<_> = kept.map(|(call, _)| call.clone()).collect();
        assert_eq!(ours, theirs_says_linearizable::<M>(&kept), "seed {seed}: dropping changed it: {calls:?}");
        if !ours {
            impossible += 1;
            let small = shrink::<M>(calls, Effort::default());
            assert!(!theirs_says_linearizable::<M>(&small.calls), "seed {seed}: shrunk to a legal history\n{small}");
        }
    }
    impossible
}

/// An order found must hold up when replayed: all answered calls, real time, the model.
fn assert_explains<M: Model>(calls: &[Call<M::Input, M::Output>], order: &[usize]) {
    let mut state = M::initial();
    for (place, &at) in order.iter().enumerate() {
        let call = &calls[at];
        state = M::step(&state, &call.input, call.output.as_ref()).expect("the order obeys the model");
        for &later in &order[place + 1..] {
            assert!(calls[later].returned.is_none_or(|returned| returned > call.invoked), "the order obeys real time");
        }
    }
    assert!(calls.iter().enumerate().all(|(at, call)| call.returned.is_none() || order.contains(&at)));
}

/// Small histories that `cargo test` compares, per model. More by `LETHE_JEPSEN_COMPARE=1000000`.
fn comparisons() -> u64 {
    std::env::var("LETHE_JEPSEN_COMPARE").map_or(20_000, |count| count.parse().expect("a number"))
}

#[test]
fn porcupine_agrees_on_registers() {
    let count = comparisons();
    let impossible = compare::<Register>(count, |call, seed| {
        use lethe_jepsen::model::RegisterOut::*;
        call.output = call.output.map(|output| match (output, seed % 5) {
            (Value(_), 0) => Value(None),
            (Value(_), n) => Value(Some((seed % (3 * n)) as i64)),
            (Done, 0) => Mismatch(Some(1)),
            (Mismatch(_), 1) => Done,
            (Destroyed, 2) => Done,
            (Done, 3) => Destroyed,
            (other, _) => other,
        });
    });
    assert!((count / 20..count / 2).contains(&impossible), "{impossible} of {count} were not linearizable");
}

#[test]
fn porcupine_agrees_on_banks() {
    let count = comparisons() / 2;
    let impossible = compare::<Bank>(count, |call, seed| {
        call.output = call.output.map(|output| match output {
            BankOut::Balances(mut balances) => {
                balances.swap(seed as usize % 5, 0);
                BankOut::Balances(balances)
            }
            BankOut::Moved(left, arrived) => BankOut::Moved(left + (seed % 3) as i64 - 1, arrived),
            BankOut::Refused => BankOut::Moved(0, 0),
        });
    });
    assert!((count / 20..count / 2).contains(&impossible), "{impossible} of {count} were not linearizable");
}

#[test]
fn porcupine_agrees_on_sets() {
    let count = comparisons() / 2;
    let impossible = compare::<Set>(count, |call, seed| {
        call.output = call.output.map(|output| match output {
            SetOut::Numbers(bits) => SetOut::Numbers(bits ^ 1 << (seed / 2 % 6)),
            SetOut::Removed(was_there) => SetOut::Removed(was_there == (seed % 3 == 0)),
            SetOut::Done => SetOut::Done,
        });
    });
    assert!((count / 20..count / 2).contains(&impossible), "{impossible} of {count} were not linearizable");
}

/// Lists are checked without a search; on small histories the search must find the same.
#[test]
fn the_search_agrees_on_lists() {
    let (count, mut impossible) = (comparisons() / 2, 0);
    for seed in 0..count {
        let calls = 4 + (seed % 13) as usize;
        let settings = Settings { clients: 2 + (seed % 4) as usize, calls, info_permille: 100, ..Settings::default() };
        let mut keys = calls_by_key::<List>(&simulate::<List>(seed, settings)).unwrap();
        let Some(calls) = keys.get_mut("k0") else { continue };
        let reads = calls.iter_mut().filter_map(|call| match &mut call.output {
            Some(ListOut::Items(items)) if seed % 2 == 1 && items.len() > 1 => Some(items),
            _ => None,
        });
        for items in reads.step_by(2) {
            match seed % 3 {
                0 => items.swap(0, 1),
                1 => drop(items.pop()),
                _ => items.rotate_left(1),
            }
        }
        let found = search::<List>(calls, Effort::default());
        assert!(!matches!(found, Search::GaveUp(_)), "seed {seed}");
        let ours = explain(calls);
        assert_eq!(ours.is_ok(), matches!(found, Search::Linearizable(_)), "seed {seed}: {ours:?} {calls:?}");
        impossible += u64::from(ours.is_err());
    }
    assert!((count / 20..count / 2).contains(&impossible), "{impossible} of {count} were not linearizable");
}

#[test]
fn porcupine_agrees_on_counters() {
    let count = comparisons();
    let impossible = compare::<Counter>(count, |call, seed| {
        call.output = call.output.map(|total| total + (seed % 7) as i64 - 3);
    });
    assert!((count / 20..count / 2).contains(&impossible), "{impossible} of {count} were not linearizable");
}
