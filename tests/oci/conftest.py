from hypothesis import settings

# A busy machine is no failure; what must be quick is measured in CPU time by the tests themselves.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
