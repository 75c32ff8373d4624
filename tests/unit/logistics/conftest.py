from hypothesis import settings

# A busy machine is no defect of a property.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
