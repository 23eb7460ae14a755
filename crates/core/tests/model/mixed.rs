//! Metrics of all types in one node: gauges, increments and counters count as they do alone.

use super::counters::Counters;
use super::windows::{Kind, Model};
use super::{acts, delay, lengths, ttl};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn metrics_of_all_types_add_up_side_by_side(
        acts in acts(),
        delay in delay(),
        ttl in ttl(),
        lengths in lengths(),
    ) {
        let kinds = [Kind::Gauge, Kind::Increments, Kind::Increments];
        let mut model = Model::new(kinds, delay, ttl, lengths);
        let mut counters = Counters::default();
        for act in &acts {
            counters.notice(&mut model.world);
            counters.act(act, &mut model.world)?;
            model.act(act)?;
            model.world.check_copies();
        }
        counters.notice(&mut model.world);
        counters.check_metrics(&mut model.world)?;
        model.finish()?;
        for (i, record) in &model.others {
            counters.take(*i, record)?;
        }
        counters.check_delivered()?;
    }
}
