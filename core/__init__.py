"""The words everybody shares: types, messages, configuration, time, errors and the arithmetic of trading."""
