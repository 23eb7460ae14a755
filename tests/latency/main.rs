//! How long commands block the server: every command with its most expensive permitted arguments and contents, by
//! SLOWLOG.
//!
//! A command that is not asked for many items takes less than 5 ms, one that is less than 50 ms. On a busy machine any
//! command is slow once in a while, because it waits for a processor. Therefore each is tried several times, with new
//! contents, and the shortest time counts; if the kernel tells how long the thread of the server ran meanwhile, that
//! counts if it is less. An algorithm that is not linear is slow every time.

mod drain;
mod import;
mod internal;
mod read;
mod report;
mod support;

use testkit::Server;

/// A command and its cases.
type Cases = (&'static str, &'static [fn()]);

const CASES: &[Cases] = &[
    (
        "AGG.STAT",
        &[
            report::stat_with_long_tags_stays_short,
            report::stat_that_closes_windows_stays_short,
        ],
    ),
    (
        "AGG.MSTAT",
        &[
            report::mstat_of_new_metrics_with_long_tags_stays_short,
            report::mstat_that_closes_windows_with_long_tags_stays_short,
            report::mstat_of_rejected_samples_stays_short,
            report::mstat_of_long_names_and_values_stays_short,
        ],
    ),
    (
        "AGG.HIST",
        &[
            report::hist_of_many_values_stays_short,
            report::hist_that_closes_windows_stays_short,
        ],
    ),
    ("AGG.LOG", &[report::log_with_long_texts_stays_short]),
    (
        "AGG.ERROR",
        &[
            report::error_with_long_texts_stays_short,
            report::error_after_a_lowered_limit_evicts_a_few,
        ],
    ),
    ("AGG.REALITY", &[report::reality_with_long_json_stays_short]),
    (
        "AGG.IMPORT",
        &[
            import::import_of_many_records_stays_short,
            import::import_of_long_records_stays_short,
            import::import_into_many_gaps_stays_short,
        ],
    ),
    (
        "AGG.FORGET",
        &[report::forget_stays_short_whatever_is_still_to_be_dropped],
    ),
    (
        "AGG.REQUEUE",
        &[drain::requeue_is_bounded_in_entries_and_in_work],
    ),
    (
        "AGG.POP",
        &[
            drain::pop_of_long_records_stays_short,
            drain::pop_of_many_records_stays_short,
        ],
    ),
    (
        "AGG.FETCH",
        &[
            drain::fetch_of_long_records_stays_short,
            drain::fetch_of_changed_records_stays_short,
            drain::fetch_after_many_expired_leases_stays_short,
        ],
    ),
    ("AGG.ACK", &[drain::ack_of_many_ids_stays_short]),
    (
        "AGG.NACK",
        &[
            drain::nack_after_many_expired_leases_stays_short,
            drain::nack_and_extend_of_many_ids_stay_short,
        ],
    ),
    (
        "AGG.EXTEND",
        &[drain::nack_and_extend_of_many_ids_stay_short],
    ),
    (
        "AGG.PEEK",
        &[
            drain::peek_of_long_records_stays_short,
            drain::peek_of_many_records_stays_short,
        ],
    ),
    ("AGG.GET", &[read::get_with_long_tags_stays_short]),
    ("AGG.RANGE", &[read::range_over_many_windows_is_bounded]),
    (
        "AGG.SCAN",
        &[
            read::scan_with_a_pattern_stops_after_some_work,
            read::scan_with_values_stays_short,
        ],
    ),
    ("AGG.INFO", &[read::info_stays_short]),
    ("AGG.HELP", &[read::help_stays_short]),
    ("AGG.APPLY", &[internal::apply_of_a_mebibyte_stays_short]),
];

#[test]
fn every_command_has_a_case() {
    let Some(server) = Server::start() else {
        return;
    };
    let commands: Vec<String> = server.ask("COMMAND LIST FILTERBY MODULE agg");
    assert!(commands.len() >= 18, "{commands:?}");
    for command in commands {
        let is_it =
            |(name, cases): &Cases| name.eq_ignore_ascii_case(&command) && !cases.is_empty();
        assert!(
            CASES.iter().any(is_it),
            "{command} has no case of its most expensive arguments"
        );
    }
}
