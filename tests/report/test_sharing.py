from dwm_ray.report.collect import collect_results
from dwm_ray.report.sharing import sharing


def test_cost_alone_is_the_mean_time_of_each_trials_own_kind(run):
    shared = sharing(collect_results(run))
    assert shared["num_users"] == 8
    assert shared["model_s"] == 360 + 120
    assert shared["alone_model_s"] == 8 * 360
    assert (shared["stream_s"], shared["alone_stream_s"]) == (36, 8 * 18)
    assert shared["reuse"] == 7.0


def test_models_that_draw_no_stream_cost_none(run):
    results = collect_results(run)
    for trial in results["trials"]:
        trial["world_model"] = trial["world_model"] and "one_step"
    shared = sharing(results)
    assert (shared["alone_model_s"], shared["alone_stream_s"]) == (8 * 120, 0)


def test_reuse_is_unknown_without_counts(run):
    results = collect_results(run)
    results["counters"]["segments_consumed"] = None
    assert sharing(results)["reuse"] is None
