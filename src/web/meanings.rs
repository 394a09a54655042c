//! What each metric means, for who reads `/metrics`. Cannot fail.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Things that have happened.
const COUNTERS: [(&str, &str); 20] = [
    ("beckon_collect_messages_total", "Messages of pages and servers, by write key and what became of them."),
    ("beckon_collect_refused_total", "Requests to collect that were refused, by reason."),
    ("beckon_conditions_undecided_total", "Conditions that could not be decided, and were taken for false."),
    ("beckon_dead_letters_total", "Records that could not be used, by stream and reason."),
    ("beckon_decisions_total", "Decisions, by outcome and the gate that refused."),
    (
        "beckon_deliveries_unanswered_total",
        "Deliveries that neither an answer nor a webhook settled within unknown_after.",
    ),
    ("beckon_delivery_retries_total", "Attempts at deliveries that have to be made again, by cause."),
    ("beckon_delivery_states_total", "States that deliveries have come into."),
    ("beckon_engagement_lost_total", "Opens and clicks that the broker did not take."),
    ("beckon_engagement_total", "What was done with the links of mails, by a machine or not."),
    ("beckon_enrichments_total", "What was fetched for mails, by name and what came of it."),
    ("beckon_esp_answers_total", "Answers of ESPs."),
    ("beckon_records_duplicate_total", "Messages that were seen before."),
    ("beckon_records_late_total", "Records whose tick was closed when they came."),
    ("beckon_records_skewed_total", "Records whose time was ahead of the clock."),
    ("beckon_records_stale_total", "Records whose key had a greater write already."),
    ("beckon_records_total", "Records read, those that could not be used among them."),
    ("beckon_spans_lost_total", "Spans that the collector did not take."),
    ("beckon_webhook_events_total", "What ESPs told of mails, by what it came to."),
    ("beckon_webhooks_total", "Webhooks, by ESP and what became of them."),
];

/// What is so now.
const GAUGES: [(&str, &str); 14] = [
    ("beckon_allowed_lateness_seconds", "How late a record may be and still be seen at its own time, as configured."),
    ("beckon_carts_open", "Carts with lines that are still to be bought."),
    ("beckon_deliveries", "Deliveries in the ledger, by state."),
    ("beckon_snapshot_age_seconds", "How far the tick of the newest snapshot is behind the clock."),
    ("beckon_snapshot_bytes", "Size of the newest snapshot."),
    ("beckon_snapshots", "Snapshots that are kept."),
    ("beckon_tick_closed_seconds", "The time up to which ticks are closed, in seconds since 1970."),
    ("beckon_tick_lag_seconds", "How far the newest closed tick is behind the clock."),
    ("beckon_tick_seconds", "The length of a tick, as configured."),
    ("beckon_trigger_set_episodes", "Episodes that hold, by campaign."),
    ("beckon_waiting_bytes", "Bodies that the broker has not acknowledged."),
    ("beckon_watermark_lag_seconds", "How far the first tick that a partition holds open is behind the clock."),
    ("process_cpu_seconds_total", "User and system CPU time of this process, in seconds."),
    ("process_resident_memory_bytes", "Memory of this process that is resident."),
];

/// How much, or how long.
const HISTOGRAMS: [(&str, &str); 3] = [
    ("beckon_enrichment_seconds", "How long something took to be fetched for a mail."),
    ("beckon_esp_request_seconds", "How long an ESP took to answer."),
    ("beckon_ledger_batch_commands", "What the ledger did in one commit."),
];

/// Tells them to the recorder.
pub(super) fn describe() {
    COUNTERS.iter().for_each(|(name, meaning)| describe_counter!(*name, *meaning));
    GAUGES.iter().for_each(|(name, meaning)| describe_gauge!(*name, *meaning));
    HISTOGRAMS.iter().for_each(|(name, meaning)| describe_histogram!(*name, *meaning));
}
