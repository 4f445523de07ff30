"""The console shows warnings and results; loggers and Python's warnings are as before afterwards."""

import logging
import warnings

import pytest
from mmengine.logging import MMLogger, print_log

from mmseg_keyprotect.engine.console import NOISE, results, short_console, warnings_only


@pytest.mark.parametrize('made', ['before', 'inside'])
def test_the_file_gets_what_the_console_does_not(made, tmp_path, capfd):
    path, name = tmp_path / 'x.log', f'{tmp_path}{made}'
    if made == 'before':
        MMLogger.get_instance(name, log_file=str(path))
    with short_console(warnings_only):
        log = MMLogger.get_instance(name) if made == 'before' else MMLogger.get_instance(name, log_file=str(path))
        log.info('a detail')
        log.warning('a danger')
        log.warning(f'{NOISE[-1]} and so on')
    shown = capfd.readouterr().out
    assert 'a danger' in shown
    assert 'a detail' not in shown
    assert NOISE[-1] not in shown
    assert all(text in path.read_text() for text in ('a detail', 'a danger', NOISE[-1]))
    log.info('again')
    assert 'again' in capfd.readouterr().out


def test_results_are_shown_and_dumps_of_the_runner_are_not(tmp_path, capfd):
    def record(module, text):
        return logging.LogRecord('mmengine', logging.INFO, f'{module}.py', 1, text, (), None)

    assert results(record('logger_hook', 'Iter(train) [1/2]'))
    assert results(record('logger', '\n+---+\n| a |'))
    assert results(record('runner', 'Load checkpoint from a.pth'))
    assert not results(record('runner', 'Config:\na = 1\n'))
    with short_console(results):
        print_log('one line', MMLogger.get_instance(f'{tmp_path}results'))
    assert 'one line' in capfd.readouterr().out


def test_warnings_of_others_that_say_nothing():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        with short_console(warnings_only):
            warnings.warn(f'{NOISE[0]} as an API', UserWarning, stacklevel=1)
            warnings.warn('Weak cipher', UserWarning, stacklevel=1)
        warnings.warn(f'{NOISE[0]} as an API', UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ['Weak cipher', f'{NOISE[0]} as an API']


def test_an_error_restores_it_too():
    made = MMLogger.__init__
    with pytest.raises(ZeroDivisionError), short_console(warnings_only):
        raise ZeroDivisionError
    assert MMLogger.__init__ is made
