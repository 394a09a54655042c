//! What the statistics promise, tried on experiments drawn from a seed, whose truth is known: intervals of one look miss 5 times in 100,
//! p is uniform where there is nothing to be seen, and who peeks all the time is misled by the sequence seldom, and by the test of one look
//! often. `BECKON_SEED` draws others.

use beckon::experiment::{Arm, Comparison, NARROWEST_AT, Outcome, Sample, SampleRatio};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many experiments each promise is tried on.
const EXPERIMENTS: usize = 2000;

fn rng(salt: u64) -> ChaCha8Rng {
    let seed: u64 = std::env::var("BECKON_SEED").map_or(7, |seed| seed.parse().unwrap());
    ChaCha8Rng::seed_from_u64(seed << 8 | salt)
}

fn rate(n: u64, p: f64, rng: &mut ChaCha8Rng) -> Sample {
    let ones = (0..n).filter(|_| rng.random_bool(p)).count();
    Sample::of_rate(ones as u64, n)
}

/// What a customer spends: mostly nothing, else an exponential amount of this mean.
fn spending(buys: f64, mean: f64, rng: &mut ChaCha8Rng) -> f64 {
    if rng.random_bool(buys) { -mean * (1.0 - rng.random::<f64>()).ln() } else { 0.0 }
}

fn revenue(n: u64, buys: f64, mean: f64, rng: &mut ChaCha8Rng) -> Sample {
    let mut sample = Sample::default();
    (0..n).for_each(|_| sample.add(spending(buys, mean, rng)));
    sample
}

/// In how many of the experiments something was so, as a share.
fn share(mut is: impl FnMut() -> bool) -> f64 {
    (0..EXPERIMENTS).filter(|_| is()).count() as f64 / EXPERIMENTS as f64
}

/// Within four standard errors of 95 %, and a little for what is normal only in the limit.
#[track_caller]
fn is_95_percent(covered: f64) {
    let error = (0.95f64 * 0.05 / EXPERIMENTS as f64).sqrt();
    assert!((covered - 0.95).abs() < 4.0 * error + 0.005, "covered in {covered}");
}

/// The distance of the p from the uniform distribution (Kolmogorov), in units of which 1.95 is exceeded once in a thousand.
fn distance_from_uniform(mut ps: Vec<f64>) -> f64 {
    ps.sort_by(f64::total_cmp);
    let n = ps.len() as f64;
    let far = |(place, p): (usize, &f64)| (p - place as f64 / n).abs().max(((place + 1) as f64 / n - p).abs());
    ps.iter().enumerate().map(far).fold(0.0, f64::max) * n.sqrt()
}

#[test]
fn intervals_of_rates_hold_the_truth_95_times_in_100() {
    let mut rng = rng(1);
    let (mut absolute, mut relative) = (0, 0);
    for _ in 0..EXPERIMENTS {
        let (treated, control) = (rate(4000, 0.06, &mut rng), rate(1500, 0.05, &mut rng));
        let found = Comparison::of(Outcome::Rate, treated, control, NARROWEST_AT);
        absolute += usize::from(found.absolute.unwrap().interval.unwrap().contains(0.01));
        relative += usize::from(found.relative.unwrap().interval.unwrap().contains(0.2));
    }
    is_95_percent(absolute as f64 / EXPERIMENTS as f64);
    is_95_percent(relative as f64 / EXPERIMENTS as f64);
}

#[test]
fn intervals_of_means_hold_the_truth_95_times_in_100() {
    let mut rng = rng(2);
    let (mut absolute, mut relative) = (0, 0);
    for _ in 0..EXPERIMENTS {
        let (treated, control) = (revenue(3000, 0.12, 50.0, &mut rng), revenue(1000, 0.1, 40.0, &mut rng));
        let found = Comparison::of(Outcome::Mean, treated, control, NARROWEST_AT);
        absolute += usize::from(found.absolute.unwrap().interval.unwrap().contains(2.0));
        relative += usize::from(found.relative.unwrap().interval.unwrap().contains(0.5));
    }
    is_95_percent(absolute as f64 / EXPERIMENTS as f64);
    is_95_percent(relative as f64 / EXPERIMENTS as f64);
}

#[test]
fn where_there_is_nothing_p_is_uniform() {
    let mut rng = rng(3);
    let (mut of_rates, mut of_means, mut of_ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..EXPERIMENTS {
        let (one, other) = (rate(5000, 0.2, &mut rng), rate(4000, 0.2, &mut rng));
        of_rates.push(Comparison::of(Outcome::Rate, one, other, NARROWEST_AT).test.unwrap().p);
        let (one, other) = (revenue(800, 0.3, 20.0, &mut rng), revenue(600, 0.3, 20.0, &mut rng));
        of_means.push(Comparison::of(Outcome::Mean, one, other, NARROWEST_AT).test.unwrap().p);
        let held_out = rate(5000, 0.1, &mut rng);
        let n = (held_out.mean * held_out.n as f64).round() as u64;
        let arm = |n, weight| Arm { name: String::new(), n, weight };
        of_ratios.push(SampleRatio::of(vec![arm(n, 0.1), arm(5000 - n, 0.9)]).unwrap().p);
    }
    for (name, ps) in [("rates", of_rates), ("means", of_means)] {
        let far = distance_from_uniform(ps);
        assert!(far < 1.95, "p of {name}: {far}");
    }
    // Counts around 500 of 5000 are few enough that some p come often: a step of about a fiftieth.
    let far = distance_from_uniform(of_ratios);
    assert!(far < 1.95 + 0.02 * (EXPERIMENTS as f64).sqrt(), "p of sample ratios: {far}");
}

/// An arm that grows, compared with the other each time some more have come; what it says each time.
fn peek(
    outcome: Outcome,
    rng: &mut ChaCha8Rng,
    mut value: impl FnMut(bool, &mut ChaCha8Rng) -> f64,
    mut look: impl FnMut(&Comparison),
) {
    let (mut treated, mut control) = (Sample::default(), Sample::default());
    for customer in 1..=10_000 {
        if rng.random_bool(0.75) {
            treated.add(value(true, rng));
        } else {
            control.add(value(false, rng));
        }
        if customer >= 400 && customer % 50 == 0 {
            look(&Comparison::of(outcome, treated, control, NARROWEST_AT));
        }
    }
}

/// Of those who look after each fifty customers, at most one in twenty ever sees an interval that does not hold the truth, or a p below
/// 0.05 where there is nothing. The intervals of one look fail far more of them: that they do is what this is for.
#[test]
fn who_peeks_is_seldom_misled_by_the_sequence_and_often_by_one_look() {
    const PEEKERS: usize = 400;
    let mut rng = rng(4);
    let [mut by_rates, mut by_means, mut by_p, mut by_one_look] = [0; 4];
    for _ in 0..PEEKERS {
        let [mut missed, mut one_look] = [false; 2];
        let rates =
            |is_treated: bool, rng: &mut ChaCha8Rng| f64::from(rng.random_bool(if is_treated { 0.12 } else { 0.1 }));
        peek(Outcome::Rate, &mut rng, rates, |found| {
            missed |= !found.anytime.unwrap().interval.contains(0.02);
            one_look |= !found.absolute.unwrap().interval.unwrap().contains(0.02);
        });
        by_rates += usize::from(missed);
        by_one_look += usize::from(one_look);
        let [mut missed, mut seen] = [false; 2];
        peek(
            Outcome::Mean,
            &mut rng,
            |_, rng| spending(0.2, 30.0, rng),
            |found| {
                let anytime = found.anytime.unwrap();
                missed |= !anytime.interval.contains(0.0);
                seen |= anytime.p < 0.05;
                assert_eq!(anytime.p < 0.05, !anytime.interval.contains(0.0), "{anytime:?}");
            },
        );
        by_means += usize::from(missed);
        by_p += usize::from(seen);
    }
    println!("of {PEEKERS} who peek were misled: {by_rates} and {by_means} by the sequence, {by_one_look} by one look");
    let most = PEEKERS / 20;
    assert!(by_rates <= most && by_means <= most && by_p <= most, "{by_rates}, {by_means}, {by_p} of {PEEKERS}");
    assert!(by_one_look > 3 * most, "only {by_one_look} of {PEEKERS} were misled by one look");
}

/// What there is, it finds.
#[test]
fn the_sequence_sees_what_is_there() {
    let mut rng = rng(5);
    let seen = share(|| {
        let (treated, control) = (rate(15_000, 0.13, &mut rng), rate(5000, 0.1, &mut rng));
        let found = Comparison::of(Outcome::Rate, treated, control, NARROWEST_AT);
        found.anytime.unwrap().interval.low > 0.0
    });
    assert!(seen > 0.9, "only {seen}");
}
