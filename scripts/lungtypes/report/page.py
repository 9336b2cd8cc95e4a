"""placeholder while the page is being written"""
