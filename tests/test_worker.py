"""The worker: newest wins, runs take turns, nothing ends the thread."""

from __future__ import annotations

import threading
import time

import pytest

from vizwidgets.widgets.worker import Worker


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.close()


def test_a_newer_job_of_an_owner_takes_the_place_of_the_waiting_one(worker):
    done, gate, begun = [], threading.Event(), threading.Event()
    worker.submit("other", lambda: (begun.set(), gate.wait(5)))
    assert begun.wait(5)
    for i in range(5):
        worker.submit("mine", lambda i=i: done.append(i))
    gate.set()
    assert worker.wait("mine", 5)
    assert done == [4]


def test_jobs_of_different_owners_are_all_done_in_order(worker):
    done = []
    for name in "abc":
        worker.submit(name, lambda name=name: done.append(name))
    assert all(worker.wait(name, 5) for name in "abc")
    assert done == ["a", "b", "c"]


def test_a_job_goes_before_the_next_step_of_a_run(worker):
    order, submitted = [], threading.Event()

    def step():
        order.append("step")
        if len(order) == 3:
            worker.submit("click", lambda: order.append("click"))
            submitted.set()
        return len(order) < 8

    worker.play("run", step)
    assert submitted.wait(5)
    assert worker.wait("run", 5)
    assert order.index("click") == 3


def test_runs_take_turns(worker):
    order = []

    def slow(name, count):
        left = [count]

        def step():
            time.sleep(0.11)
            order.append(name)
            left[0] -= 1
            return left[0] > 0

        return step

    worker.play("a", slow("a", 6))
    worker.play("b", slow("b", 6))
    assert worker.wait("a", 10)
    assert worker.wait("b", 10)
    assert order.index("b") <= 3, order
    assert sorted(order) == ["a"] * 6 + ["b"] * 6


def test_a_failing_job_leaves_the_thread_alive(worker, capfd):
    done = []
    worker.submit("bad", lambda: 1 / 0)
    worker.submit("good", lambda: done.append(1))
    assert worker.wait("good", 5)
    assert done == [1]
    assert capfd.readouterr() == ("", "")


def test_dropping_a_run_ends_it(worker):
    taken = []

    def step():
        time.sleep(0.01)
        taken.append(1)
        return True

    worker.play("run", step)
    while len(taken) < 3:
        time.sleep(0.01)
    worker.close()
    count = len(taken)
    time.sleep(0.05)
    assert len(taken) == count


def test_waiting_has_a_limit(worker):
    gate = threading.Event()
    worker.submit("slow", lambda: gate.wait(5))
    assert worker.wait("slow", 0.05) is False
    gate.set()
    assert worker.wait("slow", 5) is True
