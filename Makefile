# Each target does all of its own set-up; what it needs beforehand is a C compiler, make and
# Python 3.11 or newer.  The logic is in tools/.

.PHONY: help demo test test-kill test-long test-ecosystem storm model conformance bench format clean

help:
	@echo 'make demo     the census of the standard library, serially, with multiprocessing, with ramet'
	@echo 'make test     all checks and tests, on every CPython from 3.11 that is found'
	@echo 'make test-kill  deaths: every kill test in its full form, and that seeded bugs are caught'
	@echo 'make test-long  everything in its full form; takes long'
	@echo 'make test-ecosystem  joblib, scikit-learn, pandas, Arrow, PyTorch and others with ramet'
	@echo 'make storm SECONDS=3600  kill the processes of a busy system at random; SEED=... as before'
	@echo 'make model    the protocols, searched exhaustively by Spin'
	@echo "make conformance  CPython's own multiprocessing tests, with ramet in the place of its module"
	@echo 'make bench    side-by-side figures'
	@echo 'make format   format the sources in place'
	@echo 'make clean    remove what the other targets made'

demo test test-kill test-long test-ecosystem model conformance bench format:
	@tools/start $@

storm:
	@tools/start $@ $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf build .venv .pytest_cache .ruff_cache
