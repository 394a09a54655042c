//! The same numbers as scipy 1.17.1 gives; what they were computed with stands at each. R's `prop.test(…, correct = FALSE)` and `t.test`
//! give the same.

use beckon::experiment::table::{Asked, Report, TableFault, report};
use beckon::experiment::{Arm, Comparison, NARROWEST_AT, Outcome, Sample, SampleRatio};

/// To ten digits.
#[track_caller]
fn same(found: f64, expected: f64) {
    let far = (found - expected).abs() / expected.abs().max(1e-300);
    assert!(far < 1e-10, "{found} is not {expected}: {far:e} away");
}

fn rates((s, n): (u64, u64), (r, m): (u64, u64)) -> Comparison {
    Comparison::of(Outcome::Rate, Sample::of_rate(s, n), Sample::of_rate(r, m), NARROWEST_AT)
}

fn sample(values: &[f64]) -> Sample {
    let mut sample = Sample::default();
    values.iter().for_each(|value| sample.add(*value));
    sample
}

/// z = (p₁ − p₂) / √(p (1 − p) (1/n + 1/m)), p = 2 norm.sf(|z|), which is chi2_contingency(…, correction=False).pvalue; the interval
/// p₁ − p₂ ± norm.ppf(.975) √(p₁ q₁/n + p₂ q₂/m); the ratio's contingency.relative_risk(s, n, r, m).confidence_interval() − 1.
#[test]
fn two_proportions_are_those_of_scipy() {
    type Case = ((u64, u64), (u64, u64), [f64; 7]);
    let cases: [Case; 4] = [
        (
            (120, 1000),
            (90, 1000),
            [
                2.1882658846227234,
                0.028650240398448473,
                0.003162087844242642,
                0.056837912155757356,
                0.33333333333333326,
                0.029234260416685753,
                0.7272819669431172,
            ],
        ),
        (
            (5, 50),
            (40, 900),
            [
                1.7999689271204113,
                0.071865544780589,
                -0.02868158804551165,
                0.13979269915662276,
                1.25,
                -0.07139613761338603,
                4.4517326548576035,
            ],
        ),
        (
            (3000, 20000),
            (2000, 20000),
            [
                15.118578920369087,
                1.22150239766762e-51,
                0.04353657484958256,
                0.05646342515041742,
                0.4999999999999998,
                0.4224617999621971,
                0.5817647968190041,
            ],
        ),
        (
            (620, 9000),
            (55, 1000),
            [
                1.6607813209887528,
                0.09675737395467843,
                -0.0011788909343633889,
                0.028956668712141163,
                0.2525252525252526,
                -0.041841291727687024,
                0.637327401680915,
            ],
        ),
    ];
    for (treated, control, [z, p, low, high, ratio, ratio_low, ratio_high]) in cases {
        let found = rates(treated, control);
        let (test, absolute, relative) = (found.test.unwrap(), found.absolute.unwrap(), found.relative.unwrap());
        same(test.statistic, z);
        same(test.p, p);
        assert_eq!(test.degrees_of_freedom, None);
        same(absolute.interval.unwrap().low, low);
        same(absolute.interval.unwrap().high, high);
        same(relative.estimate, ratio);
        same(relative.interval.unwrap().low, ratio_low);
        same(relative.interval.unwrap().high, ratio_high);
    }
}

/// ttest_ind(a, b, equal_var=False) and its confidence_interval(.95). The first is the example of Welch's test in Wikipedia.
#[test]
fn welch_is_that_of_scipy() {
    let a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
    let b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 24.4];
    let c = [0.0, 0.0, 0.0, 0.0, 19.9, 0.0, 0.0, 45.5, 0.0, 0.0, 120.0, 0.0];
    let d = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.9, 0.0];
    let cases = [
        (
            sample(&a),
            sample(&b),
            [-2.8529548701715215, 27.88730398842012, 0.008071938172194903, -4.868022741791966, -0.7986439248746979],
        ),
        (
            sample(&c),
            sample(&d),
            [1.385426440092478, 11.250374220595953, 0.19277413328445422, -8.385664418947496, 37.0856644189475],
        ),
    ];
    for (treated, control, [t, degrees, p, low, high]) in cases {
        let found = Comparison::of(Outcome::Mean, treated, control, NARROWEST_AT);
        let (test, absolute) = (found.test.unwrap(), found.absolute.unwrap());
        same(test.statistic, t);
        same(test.degrees_of_freedom.unwrap(), degrees);
        same(test.p, p);
        same(absolute.interval.unwrap().low, low);
        same(absolute.interval.unwrap().high, high);
        assert!(found.is_sparse);
    }
}

/// ttest_ind_from_stats(5.31, 21.7, 91234, 5.02, 20.9, 10321, equal_var=False).
#[test]
fn welch_of_many_is_that_of_scipy() {
    let of = |n: u64, mean: f64, deviation: f64| Sample { n, mean, squares: deviation * deviation * (n - 1) as f64 };
    let found = Comparison::of(Outcome::Mean, of(91_234, 5.31, 21.7), of(10_321, 5.02, 20.9), NARROWEST_AT);
    let (test, interval) = (found.test.unwrap(), found.absolute.unwrap().interval.unwrap());
    same(test.statistic, 1.3308383205650895);
    same(test.p, 0.1832656127960476);
    same(test.degrees_of_freedom.unwrap(), 12968.773240849281);
    same(interval.low, -0.1371312291802027);
    same(interval.high, 0.7171312291802027);
}

/// chisquare(counts, expected).
#[test]
fn the_sample_ratio_is_that_of_scipy() {
    let arms = |counts: &[u64], weights: &[f64]| -> Vec<Arm> {
        let arm = |(n, weight): (&u64, &f64)| Arm { name: String::new(), n: *n, weight: *weight };
        counts.iter().zip(weights).map(arm).collect()
    };
    for (counts, weights, chi_square, p) in [
        (&[9050, 950][..], &[0.9, 0.1][..], 2.7777777777777777, 0.09558070454562936),
        (&[480, 520, 1100], &[1.0, 1.0, 2.0], 6.285714285714286, 0.0431593092614526),
        (&[9210, 790], &[9.0, 1.0], 49.0, 2.559625087771672e-12),
    ] {
        let found = SampleRatio::of(arms(counts, weights)).unwrap();
        same(found.chi_square, chi_square);
        same(found.p, p);
        assert_eq!(found.is_mismatch, p < 0.001);
    }
    assert_eq!(SampleRatio::of(arms(&[10], &[1.0])), None);
    assert_eq!(SampleRatio::of(arms(&[0, 0], &[1.0, 1.0])), None);
    assert!(SampleRatio::of(arms(&[50, 50, 1], &[1.0, 1.0, 0.0])).unwrap().is_mismatch);
}

/// The interval by the formula as it stands in the paper; p by quad() over the mixture: 1 / ∫ N(d; θ, V) N(θ; 0, σ² ρ²) dθ · N(d; 0, V).
#[test]
fn the_sequence_is_that_of_the_paper() {
    for (treated, control, [low, high, p]) in [
        ((620, 9000), (55, 1000), [-0.009445142320504796, 0.03722292009828257, 0.7016924658570644]),
        ((3000, 20000), (2000, 20000), [0.039687632852456634, 0.060312367147543344, 2.3075754731751495e-48]),
        ((120, 1000), (90, 1000), [-0.01606192970814954, 0.07606192970814954, 0.3689577201350543]),
    ] {
        let found = rates(treated, control).anytime.unwrap();
        same(found.interval.low, low);
        same(found.interval.high, high);
        // The quadrature has some seven digits.
        assert!((found.p / p - 1.0).abs() < 1e-7, "{} is not {p}", found.p);
    }
}

#[test]
fn what_cannot_be_computed_is_none() {
    let nobody = rates((0, 0), (3, 10));
    assert_eq!((nobody.absolute, nobody.relative, nobody.test, nobody.anytime), (None, None, None, None));
    let nothing = rates((0, 100), (0, 100));
    assert_eq!((nothing.absolute.unwrap().interval, nothing.relative, nothing.test), (None, None, None));
    assert_eq!((nothing.anytime, nothing.is_sparse), (None, true));
    let one = Comparison::of(Outcome::Mean, sample(&[3.0]), sample(&[1.0, 2.0]), NARROWEST_AT);
    assert_eq!((one.absolute.unwrap().interval, one.test, one.anytime), (None, None, None));
}

const TABLE: &str = "customer,arm,bought,revenue\n\
                     1,plain,1,19.90\n2,plain,0,0\n3,holdout,true,5\n4,holdout,false,0\n5, urgent ,1,\" 7.5 \"\n6,urgent,1,1e1\n";

fn asked() -> Asked {
    Asked {
        arm: "arm".into(),
        control: "holdout".into(),
        outcomes: vec!["bought".into(), "revenue".into()],
        weights: Vec::new(),
        narrowest_at: NARROWEST_AT,
    }
}

fn fault(table: &str, asked: &Asked) -> String {
    report(table.as_bytes(), asked).unwrap_err().to_string()
}

#[test]
fn a_table_is_compared_by_arm_and_outcome() {
    let Report { outcomes, sample_ratio, .. } = report(TABLE.as_bytes(), &asked()).unwrap();
    let kinds: Vec<_> = outcomes.iter().map(|it| (it.outcome.as_str(), it.kind)).collect();
    assert_eq!(kinds, [("bought", Outcome::Rate), ("revenue", Outcome::Mean)]);
    let arms: Vec<&str> = outcomes[0].arms.iter().map(|it| it.arm.as_str()).collect();
    assert_eq!(arms, ["plain", "urgent"]);
    let urgent = &outcomes[1].arms[1].comparison;
    assert_eq!((urgent.treated.n, urgent.treated.mean, urgent.control.mean), (2, 8.75, 2.5));
    assert_eq!(urgent.relative.unwrap().estimate, 2.5);
    assert_eq!(outcomes[0].arms[0].comparison, rates((1, 2), (1, 2)));
    assert_eq!(sample_ratio.unwrap().p, 1.0);
}

#[test]
fn what_is_wrong_with_a_table_is_said_with_its_place() {
    let other = |column: &str| Asked { arm: column.into(), ..asked() };
    assert_eq!(fault(TABLE, &other("group")), "there is no column `group`; there is customer, arm, bought, revenue");
    let control = Asked { control: "none".into(), ..asked() };
    assert_eq!(fault(TABLE, &control), "there is no arm `none` in column `arm`; there is holdout, plain, urgent");
    let empty = TABLE.replace("plain,0,0", "plain,,0");
    let says = "line 3: `` in column `bought` is no number; 0 and 1, or false and true, for a rate";
    assert_eq!(fault(&empty, &asked()), says);
    assert!(fault(&TABLE.replace("5\n", "NaN\n"), &asked()).starts_with("line 4: `NaN` in column `revenue`"));
    let weights = vec![("holdout".to_owned(), 1.0), ("plain".to_owned(), 9.0)];
    let weighed = Asked { weights, ..asked() };
    assert_eq!(fault(TABLE, &weighed), "no weight is given for the arm `urgent`");
    let many: String = (0..200).map(|n| format!("{n},a{n},1,1\n")).collect();
    let many = fault(&format!("customer,arm,bought,revenue\n{many}"), &asked());
    assert_eq!(many, "column `arm` has more than 100 different values: is it the arm's?");
    assert!(matches!(report("arm\n\"a".as_bytes(), &other("arm")).unwrap_err(), TableFault::NoColumn { .. }));
}
