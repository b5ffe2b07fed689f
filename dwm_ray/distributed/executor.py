"""The executor on Ray: the one module through which programs use the cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dwm_ray.blocks.counters import Counters
from dwm_ray.config import RunConfig
from dwm_ray.data.task_data import DataIdentity
from dwm_ray.distributed.cluster.connection import connect, removed_at_end
from dwm_ray.distributed.cluster.leftovers import cleanup_on_interrupt, free_leftovers
from dwm_ray.distributed.cluster.provision import provisioned
from dwm_ray.distributed.cluster.resources import Placement
from dwm_ray.distributed.cluster.settings import joined_address
from dwm_ray.distributed.metrics.gauges import export_transfer_stats
from dwm_ray.distributed.services import ClusterServices
from dwm_ray.distributed.tune.jobs import launchable, trial_job
from dwm_ray.distributed.tune.sweep import run_sweep
from dwm_ray.distributed.tune.trial import run_trials
from dwm_ray.experiment.names import method_name
from dwm_ray.experiment.plan import SweepConfig, axes_of
from dwm_ray.experiment.search_space import Plan, Trial, record_trials
from dwm_ray.options import Profile
from dwm_ray.runs.folder import RunFolder, status_of

Log = Callable[[str], None]


class RayExecutor:
    """Executor of trials on a cluster; see `local.executor.LocalExecutor`."""

    def __init__(self, config: RunConfig, services: ClusterServices) -> None:
        self._config, self._services = config, services
        self.counters = counters_of(services)
        self.processes, self.cpus = services.placement.concurrent_trials, services.placement.cpus

    def run(self, trials: Sequence[Trial], max_members: int = 1, sweep: SweepConfig | None = None) -> None:
        """Run trials in populations of up to `max_members` under Ray Tune."""
        run_sweep(trials, self._services, sweep or SweepConfig(), self._config, max_members)

    def run_one(self, trial: Trial) -> None:
        """Run a trial without Tune; raise RunFailed if its worker keeps failing."""
        run_trials(trial_job([trial], self._services))

    def search(self, plan: Plan, sweep: SweepConfig, bases: Sequence[RunConfig], profile: Profile) -> None:
        """Run trials that Optuna suggests; `plan` receives them."""
        from dwm_ray.distributed.tune.optuna_search import FeasibleOptuna  # Optuna is optional for everything else

        run = self._services.run

        def launch(trial: Trial) -> dict[str, object]:
            record_trials([trial], run)
            return launchable([trial], self._services, reports=True)

        def has_failed(trial: Trial) -> bool:
            folder = run.trial(trial.id)
            run.pull(folder)
            return status_of(folder) == "failed"

        by_name = {method_name(base.model_dump(mode="json")): base for base in bases}
        limit = self._services.placement.concurrent_trials
        optuna = FeasibleOptuna(axes_of(sweep, profile), by_name, plan, launch, has_failed, limit, sweep.search_seed)
        run_sweep([], self._services, sweep, self._config, search=optuna)


@contextmanager
def ray_executor(config: RunConfig, run: RunFolder, data: DataIdentity, log: Log) -> Iterator[RayExecutor]:
    """Join or start a cluster, start the run's services, and stop them at the end."""
    with cluster_placement(config, log) as placement:
        yield RayExecutor(config, ClusterServices.start(config, run, data, placement))


@contextmanager
def cluster_placement(config: RunConfig, log: Log) -> Iterator[Placement]:
    """Join or start a cluster and wait for its nodes; nodes that were requested are released at the end."""
    with removed_at_end():
        dashboard = connect()
        if joined_address() is not None and (freed := free_leftovers()):
            log(f"removed {freed} placement groups that earlier programs left in the cluster")
        with cleanup_on_interrupt(), provisioned(config.cluster, log) as placement:
            log(f"cluster: {placement.describe()}; {dashboard}")
            yield placement


def counters_of(services: ClusterServices) -> Counters:
    """Return the run's counters; export the driver's transfer statistics from now on."""
    export_transfer_stats(services.run, "driver")

    def count(push: bool) -> dict[str, int]:
        services.buffer.push_journals(push)
        services.run.pull()
        return services.buffer.counters()

    return Counters(services.run, count)
