//! What every store does: one list of tests, run on both databases.

pub(crate) mod files;
mod jobs;
mod keeping;
mod people;

use crate::support::on_both_databases;
use files::*;
use jobs::*;
use keeping::*;
use people::*;

on_both_databases!(
    users_come_with_a_wallet_and_a_default_agent,
    an_email_address_belongs_to_one_user,
    agents_are_created_changed_and_deleted,
    names_are_unique_among_living_agents,
    an_agent_at_work_stays,
    keys_are_made_used_and_revoked,
    a_verified_job_pays_the_agent,
    a_short_wallet_leaves_the_job_waiting_for_payment,
    cancel_in_every_state,
    a_failure_after_a_cancellation_request_refunds,
    a_hold_runs_out_and_cools_down,
    an_id_that_was_made_twice_harms_nothing,
    pull_never_offers_a_rejected_job_but_claim_takes_it,
    pull_returns_the_held_job_again,
    pull_skips_what_is_barred_taken_or_unknown,
    claim_takes_over_from_a_hold_that_ran_out,
    three_failed_attempts_refund_the_sender,
    a_review_that_fails_requeues,
    a_review_of_an_old_attempt_is_refused,
    silence_passes_after_the_review_window,
    a_repeat_gets_the_same_bytes,
    a_receipt_is_kept_for_a_day,
    the_first_seal_stays,
    a_budget_is_for_a_user_a_thing_and_a_day_over_all_nodes,
    of_many_who_spend_at_once_as_many_as_may_do,
    a_refused_request_keeps_no_receipt,
    a_leased_task_is_left_alone_until_its_lease_runs_out,
    leases_that_are_ended_are_nobodys_and_their_tasks_are_had_at_once,
    tasks_are_leased_oldest_first_and_within_the_limit,
    lists_are_in_order_and_come_in_pages,
    entries_are_the_wallets_ledger,
    events_tell_the_story_and_the_money,
    texts_and_bytes_come_back_as_they_went_in,
    strangers_are_refused_and_nothing_is_written,
    a_job_is_read_for_those_who_may_know_of_it,
    a_file_is_known_to_its_owner_and_to_whoever_sees_all_of_a_job,
    only_the_owners_files_are_named_and_what_is_named_stays,
    files_count_for_their_owners_quota_and_for_nobody_elses,
    of_many_files_at_once_as_many_come_in_as_the_quota_lets,
    files_that_no_job_names_go_once_they_are_old_and_no_sooner,
    the_observer_hears_before_the_answer,
);
