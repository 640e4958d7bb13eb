"""The helper for many slow calls at once."""

import threading
import time

import pytest

from copgkit import bounded_map


def test_results_keep_the_order_of_the_items_whatever_finishes_first():
    finished = []

    def work(number):
        time.sleep(0.02 * (4 - number))
        finished.append(number)
        return number * 10

    assert bounded_map(work, range(4), workers=4) == [0, 10, 20, 30]
    assert finished != [0, 1, 2, 3]


def test_no_more_than_the_given_number_work_at_once_and_all_of_them_do():
    running, most, lock = 0, 0, threading.Lock()

    def work(_):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    bounded_map(work, range(12), workers=3)
    assert most == 3


def test_nothing_to_do_gives_nothing_and_no_worker_is_refused():
    assert bounded_map(str, [], workers=2) == []
    with pytest.raises(ValueError, match="at least one must work"):
        bounded_map(str, [1], workers=0)


def test_an_exception_is_raised_to_the_caller_and_nothing_more_is_begun():
    begun = []

    def work(number):
        begun.append(number)
        raise KeyError(number)

    with pytest.raises(KeyError):
        bounded_map(work, range(50), workers=2)
    time.sleep(0.02)
    assert len(begun) <= 2


def test_a_value_of_none_is_a_result():
    assert bounded_map(lambda _: None, range(3), workers=2) == [None] * 3


def test_what_is_late_gets_the_late_value_and_the_rest_keeps_its_own():
    release = threading.Event()

    def work(number):
        if number == 1:
            release.wait(10)
        return number

    start = time.monotonic()
    assert bounded_map(work, range(3), workers=3, deadline=0.2, late=lambda number: -number) == [0, -1, 2]
    assert time.monotonic() - start < 5
    release.set()


def test_after_the_deadline_nothing_more_is_begun():
    begun, release = [], threading.Event()

    def work(number):
        begun.append(number)
        release.wait(10)

    bounded_map(work, range(5), workers=1, deadline=0.1, late=lambda _: None)
    release.set()
    time.sleep(0.05)
    assert begun == [0]


def test_without_a_late_value_a_deadline_is_an_error():
    release = threading.Event()
    with pytest.raises(TimeoutError, match=r"not done within 0\.05 seconds"):
        bounded_map(lambda _: release.wait(10), [1], workers=1, deadline=0.05)
    release.set()
