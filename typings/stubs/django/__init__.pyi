# What tests/wsgi/django_app.py uses of Django, which has no types of its own.
